"""A stopped run continues with the same numbers; what has changed is refused, or accepted where asked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import byol
from byol.commands.resume import resume
from byol.config import RUN_SETTINGS
from byol.data.arrays import ArrayImages
from byol.engine.metrics import read_metrics
from byol.errors import ConfigError, RunError
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES, losses, run, stop_at


@pytest.mark.parametrize(
    ("precision", "predictor"),
    [("fp32", "mlp"), ("fp32", "stiefel"), pytest.param("bf16", "mlp", marks=pytest.mark.full)],  # slow where emulated
)
def test_resume_continues_bit_for_bit(
    tmp_path: Path, precision: str, predictor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"precision": precision, "log_interval_steps": 3, "collapse_interval_steps": 6, "epochs": 3}
    settings |= {"heads.predictor": predictor, "heads.predictor_average": 0.9}
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
    assert all(("predictor_alignment" in row) == (predictor != "mlp") for row in rows[0])
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


def test_resuming_a_finished_run_keeps_its_result(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=2)
    result = (tmp_path / "run" / "result.json").read_text()
    assert resume(tmp_path / "run", source=ArrayImages(PICTURES), say=lambda line: None).finished
    assert (tmp_path / "run" / "result.json").read_text() == result


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
    with pytest.raises(RunError, match=r"other images .* the number is equal, but names or pixels differ"):
        resume(tmp_path / "run")
    (photos / "cat" / "other.jpg").unlink()
    with pytest.raises(RunError, match=r"started with 40 images, .* now has 39"):
        resume(tmp_path / "run")


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


def test_resume_takes_other_settings_of_how_a_run_is_carried_out_unasked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers, device and lines of metrics change; losses and weights are those of the undisturbed run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # so that device auto computes the same as cpu
    run(tmp_path / "whole", photos, epochs=4)  # 10 steps
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        assert not run(tmp_path / "parts", photos, epochs=4).finished
    said: list[str] = []
    changes = {"workers": 2, "device": "cpu", "log_interval_steps": 3}
    assert changes.keys() <= RUN_SETTINGS
    with pytest.raises(ConfigError, match=r"these differ: epochs: 4\.0 -> 8\.0\. "):
        resume(tmp_path / "parts", overrides={**changes, "epochs": 8})
    assert resume(tmp_path / "parts", overrides=changes, say=said.append).finished
    told = {line.removeprefix("  changed: ") for line in said if line.startswith("  changed: ")}
    assert told == {"workers: 0 -> 2", "device: auto -> cpu", "log_interval_steps: 1 -> 3"}
    parts, whole = (
        {row["step"]: row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl")}
        for name in ("parts", "whole")
    )
    assert sorted(parts) == [0, 1, 2, 3, 5, 8, 9] and parts.items() <= whole.items()
    weights = [(tmp_path / name / "encoder.safetensors").read_bytes() for name in ("parts", "whole")]
    assert weights[0] == weights[1]


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
