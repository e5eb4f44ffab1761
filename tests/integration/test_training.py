"""Real runs, in process: traces, resume, micro-batches, faults."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import byol
from byol.build.networks import build_method
from byol.commands.resume import resume
from byol.config import replaced
from byol.data.arrays import ArrayImages
from byol.data.loader import BatchPlan, ResidentFeed
from byol.data.order import Order
from byol.diagnostics.measures import measure_step
from byol.diagnostics.spectrum import alpha_req
from byol.engine.metrics import read_metrics
from byol.engine.micro_batches import micro_batches
from byol.engine.progress import Progress
from byol.engine.state import State
from byol.engine.step import Schedule, train_step
from byol.errors import CheckpointError, CollapseError, ConfigError, EncoderError, NonFiniteError, RunError
from byol.methods.byol import BYOL, MethodOutput
from byol.recipes import recipe
from byol.runtime import checkpoint
from byol.runtime.run_directory import RunDirectory
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(64)])


def run(out: Path, data=PICTURES, **overrides) -> byol.Run:
    return byol.pretrain(data, "small", out=out, overrides={**SMALL, "epochs": 5, **overrides}, say=lambda line: None)


def losses(path: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(path / "metrics.jsonl")]


@pytest.mark.parametrize("kernels", ["native", "fused"])
def test_training_twenty_steps_give_the_golden_trace(tmp_path: Path, kernels: str) -> None:
    """On every machine: with LARS at a low rate, operators and 1 to 4 threads part by 8e-5 at most, where a tenth more
    of the rate makes 8e-3, a momentum of 0.8 makes 2e-2, and tau from 0.9 makes 7e-4."""
    heads = {"heads.projector_hidden": 256, "heads.projector_output": 64, "heads.predictor_hidden": 256}
    lars = {"optimizer.name": "lars", "optimizer.base_learning_rate": 0.05}
    settings = {"encoder.name": "resnet10", "batch_size": 64, "epochs": 20}
    run(tmp_path / "run", kernels=kernels, **settings, **heads, **lars)
    golden = json.loads((Path(__file__).parent / "golden_losses.json").read_text())
    assert losses(tmp_path / "run") == pytest.approx(golden, abs=5e-4)
    assert RunDirectory(tmp_path / "run").record()["derived"]["kernels"] == kernels


def test_online_probe_changes_nothing_and_is_logged_when_it_is_due(photos: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 8, "log_interval_steps": 4}  # 25 steps of 8 images
    run(tmp_path / "without", photos, **settings)
    run(tmp_path / "with", photos, **settings, online_probe_epochs=2)  # every 10 steps
    rows = {name: read_metrics(tmp_path / name / "metrics.jsonl") for name in ("with", "without")}
    probed = {row["step"]: row for row in rows["with"] if "online_knn" in row}
    assert list(probed) == [9, 19, 24]
    assert all(0 <= row["online_linear"] <= 100 for row in probed.values())
    traces = [{row["step"]: row["loss"] for row in rows[name]} for name in ("with", "without")]
    assert traces[1].items() <= traces[0].items()
    one, other = (load_file(tmp_path / name / "encoder.safetensors") for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match="online_probe_epochs needs labels"):
        run(tmp_path / "unlabelled", online_probe_epochs=1)


def test_training_writes_a_complete_run_directory(tmp_path: Path) -> None:
    ended = run(tmp_path / "run")
    assert ended.finished
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["format_version"] == 1
    assert record["config"]["batch_size"] == 16
    assert record["derived"] | {"total_steps": 20, "warmup_steps": 2} == record["derived"]
    assert record["machine"]["versions"]["torch"] == torch.__version__
    assert json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 20
    (path,) = (tmp_path / "run" / "checkpoints").glob("step_00000020.*.pt")
    checkpoint = torch.load(path, weights_only=True)
    weights = load_file(tmp_path / "run" / "encoder.safetensors")
    assert torch.equal(weights["conv1.weight"], checkpoint["method"]["online.encoder.conv1.weight"])


def test_load_gives_the_trained_encoder(tmp_path: Path) -> None:
    encoder = run(tmp_path / "run").encoder()
    images = torch.from_numpy(PICTURES[:4]).permute(0, 3, 1, 2)
    vectors = encoder(images)
    assert vectors.shape == (4, 64)
    assert torch.equal(vectors, byol.load(tmp_path / "run")(images))
    assert float(vectors.std(0).mean()) > 0


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a training find a signal after so many steps."""
    from byol.training import trainer

    class StopThere(trainer.StopRequest):
        def __enter__(self):
            self.steps = 0
            return super().__enter__()

        @property
        def signal_number(self):
            self.steps += 1
            return 15 if self.steps >= step else None

        @signal_number.setter
        def signal_number(self, value):
            pass

    monkeypatch.setattr(trainer, "StopRequest", StopThere)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.full)])  # slow where emulated
def test_resume_continues_bit_for_bit(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"precision": precision, "log_interval_steps": 3, "collapse_interval_steps": 6, "epochs": 3}
    run(tmp_path / "whole", **settings)
    # a run that was cut at step 8: its checkpoint is the whole run's, had it been stopped there
    with monkeypatch.context() as patch:
        stop_at(8, patch)
        stopped = run(tmp_path / "parts", **settings)
    assert not stopped.finished
    assert len(losses(tmp_path / "parts")) == 3
    assert resume(tmp_path / "parts", source=ArrayImages(PICTURES), say=lambda line: None).finished
    timing = {"images_per_second", "elapsed_seconds"}
    rows = [
        [{k: v for k, v in row.items() if k not in timing} for row in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("parts", "whole")
    ]
    assert rows[0] == rows[1]
    whole, parts = (load_file(tmp_path / name / "encoder.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_run_is_repeated_from_its_record(photos: Path, tmp_path: Path) -> None:
    def record(name: str) -> dict:
        return json.loads((tmp_path / name / "run.json").read_text())

    settings = {**SMALL, "epochs": 12}
    byol.pretrain(photos, out=tmp_path / "run", overrides=settings, say=lambda _: None)
    first = record("run")
    again = (first["data"]["data"], first["recipe"])
    byol.pretrain(*again, out=tmp_path / "again", overrides=first["config"], say=lambda _: None)
    assert record("again")["config"] == first["config"]
    weights = [(tmp_path / name / "encoder.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
    # a warm-up that was asked for as part of a whole config stays, though it is more than a tenth of half the steps
    half = {**first["config"], "epochs": 6}
    byol.pretrain(*again, out=tmp_path / "half", overrides=half, say=lambda _: None)
    assert record("half")["derived"]["warmup_steps"] == first["derived"]["warmup_steps"] > 0
    assert record("half")["derived"]["total_steps"] == first["derived"]["total_steps"] // 2


def test_signal_in_the_last_save_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers pass signals on: one may come when the training has stopped by another, or is done."""
    from byol.training import trainer

    save = checkpoint.save

    def save_and_hear(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(*arguments, **settings)

    def write_and_hear(*arguments):
        os.kill(os.getpid(), signal.SIGUSR1)
        trainer_write(*arguments)

    trainer_write = trainer.save_encoder
    monkeypatch.setattr(checkpoint, "save", save_and_hear)
    monkeypatch.setattr(trainer, "save_encoder", write_and_hear)
    ended = run(tmp_path / "run", epochs=1)
    assert ended.finished and ended.signal_number == signal.SIGTERM
    assert json.loads((tmp_path / "run" / "result.json").read_text())["finished"]


def test_terminal_that_is_gone_does_not_end_a_training(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise BrokenPipeError

    assert byol.pretrain(
        PICTURES, "small", out=tmp_path / "run", overrides={**SMALL, "epochs": 2}, say=lambda line: None, show=fail
    ).finished


def test_train_step_averages_gradients_over_micro_batches() -> None:
    """Four micro-batches of a loss without batch norm move the weights, and the target once, as the whole batch does."""
    made = {}
    for micro in (16, 4):
        method = build_method(replaced(recipe("small").config, {**SMALL, "views.mean": (0.5,), "views.std": (0.2,)}), 3)
        optimizer = torch.optim.SGD(method.online.parameters(), lr=0.0, momentum=0.9)
        state = State(method, optimizer)
        feed = ResidentFeed(torch.from_numpy(PICTURES).permute(0, 3, 1, 2), None, BatchPlan(16, micro), seed=0)
        views = Views(pair(T, T_PRIME, 32), 16, seed=0)

        def linear_loss(views, labels, last, method=method) -> MethodOutput:
            weight = method.online.get_parameter("encoder.conv1.weight")
            projected = torch.nn.functional.conv2d(views.view1 + views.view2, weight)
            return MethodOutput(projected.square().mean(), projected.detach(), projected.detach())

        schedule = Schedule(0.2, 16, total_steps=10, warmup_steps=0, tau_base=0.9)
        views_of = micro_batches(feed.batches(0, 1), views, torch.device("cpu"))
        result = train_step(state, views_of, 16 // micro, linear_loss, schedule)
        made[micro] = (
            result.loss,
            method.online.get_parameter("encoder.conv1.weight"),
            method.target.get_parameter("encoder.conv1.weight"),
        )
        assert state.step == 1
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * 16 / 256)
    for whole, parts in zip(made[16], made[4], strict=True):
        assert torch.allclose(whole, parts, atol=1e-5)


def test_resuming_a_finished_run_keeps_its_result(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=2)
    result = (tmp_path / "run" / "result.json").read_text()
    assert resume(tmp_path / "run", source=ArrayImages(PICTURES), say=lambda line: None).finished
    assert (tmp_path / "run" / "result.json").read_text() == result


def test_classifier_leaves_the_representation_untouched(tmp_path: Path) -> None:
    source = ArrayImages(PICTURES, np.arange(64) % 4)
    run(tmp_path / "plain", source)
    run(tmp_path / "with", source, **{"method.online_classifier": True})
    plain, with_head = (load_file(tmp_path / name / "encoder.safetensors") for name in ("plain", "with"))
    assert all(torch.equal(plain[name], with_head[name]) for name in plain)
    assert losses(tmp_path / "plain") == losses(tmp_path / "with")
    last = read_metrics(tmp_path / "with" / "metrics.jsonl")[-1]
    assert 0 < last["classifier_loss"] < 10
    assert 0 <= last["classifier_accuracy"] <= 100


def test_own_module_trains_and_loads(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layers(images)

    byol.pretrain(
        PICTURES, out=tmp_path / "run", overrides={**SMALL, "epochs": 1}, encoder=Own(), say=lambda line: None
    )
    with pytest.raises(EncoderError, match="module of your own"):
        byol.load(tmp_path / "run")
    assert byol.load(tmp_path / "run", Own())(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_training_any_number_of_channels(tmp_path: Path, channels: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, (32, 20, 20, channels), dtype=np.uint8)
    ended = run(tmp_path / "run", data, epochs=1, **{"views.size": 0})
    assert ended.encoder()(torch.zeros(1, channels, 20, 20)).shape == (1, 64)
    assert len(ended.encoder().description.mean) == channels


def test_training_non_finite_loss_stops_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"at step \d+"):
        run(tmp_path / "run", **{"optimizer.base_learning_rate": 2.0, "optimizer.weight_decay": 1e30})


def test_least_squares_predictor_of_as_many_dimensions_as_projections_is_refused(tmp_path: Path) -> None:
    """It would fit them exactly, and the loss would have no gradient."""
    with pytest.raises(ConfigError, match="fits 32 projections of 32 dimensions exactly"):
        run(tmp_path / "run", **{"heads.predictor": "least-squares", "heads.projector_output": 32})


def test_full_disk_stops_with_a_sentence_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    from byol.runtime import files

    calls = [0]

    def fsync(handle: int) -> None:
        calls[0] += 1
        if calls[0] == 10:  # run.json, encoder.json, metrics.jsonl, then a checkpoint a step
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        with pytest.raises(RunError, match=r"cannot be written .No space left on device.*Free some space"):
            run(tmp_path / "run", checkpoint_interval_minutes=0)
    assert [checkpoint.step_of(path) for path in checkpoints(tmp_path / "run")] == [5, 6]
    assert not list((tmp_path / "run" / "checkpoints").glob("*.part"))
    assert resume(tmp_path / "run", source=ArrayImages(PICTURES), say=lambda line: None).finished
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be made .Not a directory.*choose another --out|Choose another --out"):
        run(tmp_path / "file" / "run")


def test_existing_directory_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="exists already"):
        run(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_failed_start_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="Did you mean 'resnet18'"):
        run(tmp_path / "run", **{"encoder.name": "resnet18x"})
    assert not (tmp_path / "run").exists()


def test_resume_changed_data_or_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=r"started with 64 images.*now has 32"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES[:32]))
    with pytest.raises(ConfigError, match=r"these differ: epochs: 1\.0 -> 2\.0\. .*--accept-changes"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES), overrides={"epochs": 2, "batch_size": 16})


def test_resume_compares_with_what_the_run_found_not_with_what_was_asked(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1, **{"views.size": 0})
    found = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["views"]["size"]
    assert found > 8
    same = resume(
        tmp_path / "run", source=ArrayImages(PICTURES), overrides={"views.size": found}, say=lambda line: None
    )
    assert same.finished
    with pytest.raises(ConfigError, match=rf"these differ: views\.size: {found} -> 8\. "):
        resume(tmp_path / "run", source=ArrayImages(PICTURES), overrides={"views.size": 8})


def test_resume_with_a_missing_or_renamed_file_is_refused(photos: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 0.5}
    byol.pretrain(photos, out=tmp_path / "run", overrides=settings, say=lambda line: None)
    (photos / "cat" / "07.jpg").rename(photos / "cat" / "other.jpg")
    with pytest.raises(RunError, match=r"other images .* the number is equal, but names differ"):
        resume(tmp_path / "run")
    (photos / "cat" / "other.jpg").unlink()
    with pytest.raises(RunError, match=r"started with 40 images, .* now has 39"):
        resume(tmp_path / "run")


def test_resume_after_the_clock_was_set_back_takes_the_newest_step(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1, checkpoint_interval_minutes=0)
    before, newest = checkpoints(tmp_path / "run")
    os.utime(before, (2e9, 2e9))
    os.utime(newest, (1, 1))
    assert checkpoint.load_newest(tmp_path / "run" / "checkpoints")[0] == newest


def test_resume_changed_config_is_accepted_where_asked(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    said: list[str] = []
    ended = resume(
        tmp_path / "run", source=ArrayImages(PICTURES), overrides={"epochs": 2}, accept_changes=True, say=said.append
    )
    assert ended.finished
    assert "  changed: epochs: 1.0 -> 2.0" in said
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(8))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["epochs"] == 2


def test_resume_changed_optimizer_setting_is_used_and_another_optimizer_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for path, decay in ((tmp_path / "run", 1e-4), (tmp_path / "other", 0.5)):  # 1e-4 is the recipe's
        changes = {"epochs": 2, "optimizer.weight_decay": decay}
        resume(path, source=ArrayImages(PICTURES), overrides=changes, accept_changes=True, say=lambda line: None)
    same, changed = losses(tmp_path / "run"), losses(tmp_path / "other")
    assert same[:5] == changed[:5] and abs(same[7] - changed[7]) > 1e-3
    with pytest.raises(ConfigError, match=r"the state of sgd, so optimizer.name cannot change to lars.*--encoder.init"):
        resume(
            tmp_path / "run",
            source=ArrayImages(PICTURES),
            overrides={"optimizer.name": "lars"},
            accept_changes=True,
            say=lambda line: None,
        )


class WithDropout(nn.Module):
    """Draws at random in its forward, as networks with dropout or stochastic depth do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(16))
        self.layers(torch.zeros(1, 3, 32, 32))
        self.drawn: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.drawn.append(float(torch.rand(())))
        return self.layers(images)


def test_resume_of_an_encoder_that_draws_at_random_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_own(out: Path, encoder: nn.Module) -> byol.Run:
        overrides = {**SMALL, "epochs": 2}
        return byol.pretrain(PICTURES, out=out, overrides=overrides, encoder=encoder, say=lambda line: None)

    encoder = WithDropout()
    torch.manual_seed(7)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    train_own(tmp_path / "whole", encoder)
    assert len(set(encoder.drawn)) == len(encoder.drawn) >= 16  # two forwards in each of eight steps, none twice
    assert torch.equal(torch.rand(1), drawn)  # whoever called draws on as if nothing had been
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        assert not train_own(tmp_path / "parts", WithDropout()).finished
    resume(tmp_path / "parts", source=ArrayImages(PICTURES), encoder=WithDropout(), say=lambda line: None)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_weights_that_are_not_finite_never_replace_a_sound_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step is finite, its gradient is not."""
    update = BYOL.update_target

    def update_and_break(self: BYOL, tau: float) -> None:
        update(self, tau)
        calls.append(tau)
        if len(calls) == 3:
            next(self.online.parameters()).data.fill_(torch.nan)

    calls: list[float] = []
    monkeypatch.setattr(BYOL, "update_target", update_and_break)
    with pytest.raises(NonFiniteError, match=r"Weights that are not finite came of step 2\. The newest checkpoint"):
        run(tmp_path / "run", checkpoint_interval_minutes=0)
    _, saved = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert saved["step"] == 2
    assert all(bool(t.isfinite().all()) for t in saved["method"].values() if t.is_floating_point())


def test_skipped_images_survive_a_line_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_skipped({("photos", 4): ("a.jpg", "torn")})
    with directory.skipped.open("a") as stream:
        stream.write('{"name": "b.j')
    found = {("photos", 4): ("a.jpg", "torn"), ("photos", 7): ("c.jpg", "empty"), ("photos", 9): ("c.jpg", "torn")}
    directory.write_skipped(found)
    rows = [json.loads(line) for line in directory.skipped.read_text().splitlines()]
    assert rows == [{"name": name, "place": place, "reason": why} for (_, place), (name, why) in found.items()]


def test_run_on_a_file_system_without_locks_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(stream: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(tmp_path / "run", epochs=1).finished


def checkpoints(run: Path) -> list[Path]:
    return checkpoint.saved(run / "checkpoints")


@pytest.mark.parametrize("damage", ["torn", "one bit", "empty"])
def test_resume_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    run(tmp_path / "run", epochs=1, checkpoint_interval_minutes=0)
    before, newest = checkpoints(tmp_path / "run")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"torn": content[:1000], "one bit": content, "empty": b""}[damage])
    trace, said = losses(tmp_path / "run"), []
    resume(tmp_path / "run", source=ArrayImages(PICTURES), say=said.append)
    assert any(f"{newest} is damaged" in line and f"Using {before.name}" in line for line in said)
    assert losses(tmp_path / "run") == trace
    assert len(checkpoints(tmp_path / "run")) == 2


def test_resume_without_a_readable_checkpoint_says_so(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    for path in checkpoints(tmp_path / "run"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))


def test_checkpoint_with_foreign_pickle_is_not_executed(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    run(tmp_path / "run", epochs=1)
    (path,) = checkpoints(tmp_path / "run")
    path.write_bytes(pickle.dumps(Evil()))
    path.rename(path.with_name(f"step_00000004.{checkpoint._checksum(path)}.pt"))  # as one who knows would
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))
    assert not (tmp_path / "owned").exists()


def test_checkpoints_newest_and_milestones_are_kept(tmp_path: Path) -> None:
    run(
        tmp_path / "run", epochs=3, checkpoint_interval_minutes=0, milestone_epochs=1.0, keep_checkpoints=3
    )  # 4 steps an epoch
    assert [checkpoint.step_of(path) for path in checkpoints(tmp_path / "run")] == [4, 8, 10, 11, 12]


def test_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    with (
        RunDirectory(tmp_path / "run").lock(),
        pytest.raises(RunError, match=f"another process .process {os.getpid()} "),
    ):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))
    assert resume(tmp_path / "run", source=ArrayImages(PICTURES), say=lambda line: None).finished


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked")
def test_run_directory_is_free_when_its_process_dies_and_a_worker_lives_on(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    reading, writing = os.pipe()
    if not (training := os.fork()):
        with RunDirectory(tmp_path / "run").lock():
            if not (worker := os.fork()):
                time.sleep(60)
            os.write(writing, str(worker).encode())
            os._exit(0)
    os.waitpid(training, 0)
    worker = int(os.read(reading, 20))
    try:
        with RunDirectory(tmp_path / "run").lock():
            os.kill(worker, 0)  # it lives
    finally:
        os.kill(worker, signal.SIGKILL)


def explode(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the loss of one step infinite, and its gradients with it."""
    from byol.methods.byol import BYOL

    original = BYOL.forward
    calls = [0]

    def forward(self, views, labels=None):
        calls[0] += 1
        factor = torch.inf if calls[0] == step + 1 else 1.0
        return original(self, replace(views, sources1=(views.view1 * factor,)), labels)

    monkeypatch.setattr(BYOL, "forward", forward)


def test_non_finite_step_is_skipped_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explode(6, monkeypatch)
    said: list[str] = []
    ended = byol.pretrain(
        PICTURES, out=tmp_path / "run", overrides={**SMALL, "epochs": 5, "on_non_finite": "skip"}, say=said.append
    )
    assert ended.finished
    assert "1 step skipped because the gradient was not finite" in said
    trace = losses(tmp_path / "run")
    assert [step for step, loss in enumerate(trace) if loss is None] == [6]
    assert all(bool(t.isfinite().all()) for t in load_file(tmp_path / "run" / "encoder.safetensors").values())


def test_non_finite_step_is_recorded_with_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explode(6, monkeypatch)
    with pytest.raises(NonFiniteError, match="at step 6"):
        run(tmp_path / "run", log_interval_steps=4, checkpoint_interval_minutes=0)
    fault = torch.load(tmp_path / "run" / "non_finite.pt", weights_only=True)
    assert fault["step"] == 6
    assert fault["image_indices"].tolist() == Order(64, 0).indices(6 * 16, 16).tolist()
    assert "online.encoder.bn1.running_mean" in fault["tensors"]
    assert checkpoint.step_of(checkpoints(tmp_path / "run")[-1]) == 6  # from before


def test_collapse_stops_a_run_where_asked(tmp_path: Path) -> None:
    same = np.repeat(PICTURES[:1], 64, axis=0)  # one image, and views that do not differ
    still = {
        f"views.{view}.{name}_probability": 0.0
        for view in ("view1", "view2") for name in ("flip", "jitter", "grayscale", "blur", "solarize")
    }  # fmt: skip
    areas = {"views.view1.crop_area": (0.999, 1.0), "views.view2.crop_area": (0.999, 1.0)}
    aspects = {"views.view1.crop_aspect": (0.999, 1.0), "views.view2.crop_aspect": (0.999, 1.0)}
    settings = {**still, **areas, **aspects, "stop_on_collapse": True, "collapse_interval_steps": 1}
    with pytest.raises(CollapseError, match=r"Stopped at step \d+ because stop_on_collapse is set: collapsed"):
        run(tmp_path / "run", same, **settings)
    assert not json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert len(losses(tmp_path / "run")) < 20


@pytest.mark.parametrize(("warmup_epochs", "interval", "first"), [(1.0, 3, 7), (0.0, 5, 6), (0.0, 50, 20)])
def test_progress_gives_no_verdict_before_a_look_after_the_warm_up(
    tmp_path: Path, warmup_epochs: float, interval: int, first: int
) -> None:
    """20 steps, of which an epoch is 4: `first` is the number of the step whose look may be judged. Metrics hold all."""
    seen: list[Progress] = []
    own = {"epochs": 5, "optimizer.warmup_epochs": warmup_epochs, "collapse_interval_steps": interval}
    byol.pretrain(
        PICTURES, "small", out=tmp_path / "run", overrides={**SMALL, **own}, say=lambda line: None, show=seen.append
    )
    assert [p.step for p in seen] == list(range(1, 21))
    assert {p.health for p in seen[: first - 1]} == {"starting"}
    assert {p.health for p in seen[first - 1 :]} <= {"healthy", "partially collapsed", "collapsed"}
    assert "std_ratio" in read_metrics(tmp_path / "run" / "metrics.jsonl")[0]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format_version": 99}'])
def test_open_foreign_directory_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json|format version|does not hold"):
        resume(tmp_path)


def test_load_damaged_encoder_is_one_sentence(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "copy" / "encoder.safetensors").write_bytes(b"xx")
    with pytest.raises(RunError, match="cannot be read"):
        byol.load(tmp_path / "copy")
    with pytest.raises(RunError, match=r"holds no encoder\.json: it holds runs of which one has to be named, copy for"):
        byol.load(tmp_path)


SPAWNED = """
import multiprocessing, sys
import byol
from tests.conftest import SMALL
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    run = byol.pretrain(sys.argv[1], out=sys.argv[2], overrides={**SMALL, "workers": 2, "epochs": 1})
    print("ended", run.finished)
"""


def test_training_with_spawned_workers_gives_the_same_losses(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SPAWNED)
    command = [sys.executable, str(tmp_path / "script.py"), str(photos), str(tmp_path / "spawned")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert "ended True" in ended.stdout, ended.stderr
    run(tmp_path / "here", str(photos), epochs=1)
    assert losses(tmp_path / "spawned") == losses(tmp_path / "here")


def test_collapse_watch_sees_all_micro_batches(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=0.5, micro_batch_size=2, collapse_interval_steps=1)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(row["effective_rank"] > 2 for row in rows)  # two images have no more


def test_training_logs_the_measures_of_its_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, float]] = []

    def look(projection: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
        singular = np.linalg.svd(projection.double().numpy(), compute_uv=False)
        share = singular / singular.sum()
        unit, other = (
            m.double().numpy() / np.linalg.norm(m.double().numpy(), axis=1)[:, None] for m in (projection, target)
        )
        pairs = np.triu_indices(len(unit), 1)
        seen.append({
            "alpha_req": alpha_req(projection.double()),
                "rankme": float(np.exp(-np.sum(share * np.log(share)))),
            "alignment": float(np.mean(np.sum((unit - other) ** 2, axis=1))),
            "uniformity": float(np.log(np.mean(np.exp(-2 * np.sum((unit[pairs[0]] - unit[pairs[1]]) ** 2, axis=1))))),
        })  # fmt: skip
        return measure_step(projection, target)

    monkeypatch.setattr("byol.engine.loop.measure_step", look)
    run(tmp_path / "run", epochs=1, micro_batch_size=8, collapse_interval_steps=2, log_interval_steps=2)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(seen) > 2
    for name, value in seen[-1].items():
        assert rows[-1][name] == pytest.approx(value, abs=2e-3, rel=1e-3), name
    assert rows[-1]["alignment"] == pytest.approx(2 - 2 * rows[-1]["positive_cosine"], abs=1e-4)


def test_measures_of_a_step_that_is_not_finite_are_left_out() -> None:
    broken = torch.ones(4, 2)
    broken[1, 1] = math.nan
    assert measure_step(broken, torch.ones(4, 2)) == measure_step(torch.ones(4, 2), broken) == {}


def test_own_encoder_with_shared_weights_is_saved(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = self.first

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(images)).mean(dim=(2, 3))

    settings = {**SMALL, "epochs": 0.5}
    made = byol.pretrain(PICTURES, out=tmp_path / "run", overrides=settings, encoder=Tied(), say=lambda line: None)
    assert made.encoder(Tied()).module.first.weight.shape == (3, 3, 3, 3)


def test_stop_between_two_looks_is_judged_by_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(8, patch)
        run(tmp_path / "run", collapse_interval_steps=1000)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert result["step"] == 8
    assert rows[0]["std_ratio"] == rows[-1]["std_ratio"] != result["collapse"]["std_ratio"]
    state = checkpoint.load_newest(tmp_path / "run" / "checkpoints", print)[
        1
    ]  # a resumed run's metrics are the whole one's
    assert state["collapse"]["std_ratio"] == rows[0]["std_ratio"]
