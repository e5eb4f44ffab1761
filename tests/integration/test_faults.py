"""Faults of a training: a full disk, signals, numbers that are not finite."""

import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import byol
from byol.commands.resume import resume
from byol.data.arrays import ArrayImages
from byol.data.order import Order
from byol.errors import ConfigError, NonFiniteError, OutOfMemoryError, RunError
from byol.methods.byol import BYOL
from byol.runtime import checkpoint
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES, checkpoints, losses, run


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


@pytest.mark.parametrize("predictor", ["mlp", "directpred", "least-squares"])
def test_training_non_finite_loss_stops_with_a_sentence(tmp_path: Path, predictor: str) -> None:
    settings = {"heads.predictor": predictor, "heads.projector_output": 16}
    with pytest.raises(NonFiniteError, match=r"at step \d+"):
        run(tmp_path / "run", **settings, **{"optimizer.base_learning_rate": 2.0, "optimizer.weight_decay": 1e30})


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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)  # fmt: skip
def test_full_memory_stops_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def forward(*_: object) -> None:
        raise error

    monkeypatch.setattr(BYOL, "forward", forward)
    with pytest.raises(OutOfMemoryError, match=r"too little memory for the batch\. Set a smaller --micro-batch-size"):
        run(tmp_path / "run")


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
    with pytest.raises(NonFiniteError, match=r"The weights are not finite after step 2\. The newest checkpoint"):
        run(tmp_path / "run", checkpoint_interval_minutes=0)
    _, saved = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert saved["step"] == 2
    assert all(bool(t.isfinite().all()) for t in saved["method"].values() if t.is_floating_point())


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
