"""A checkpoint in place of a run: what a training that goes on, or broke off, has learned so far."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import byol
from byol.assembly.subject import open_subject, trained_images
from byol.commands.evaluate import evaluate
from byol.commands.export import export_encoder
from byol.encoder.encoder_file import WEIGHTS
from byol.errors import EncoderError, NonFiniteError, RunError
from byol.methods.byol import BYOL
from byol.methods.network import MethodOutput
from byol.runtime import checkpoint
from byol.runtime.run_directory import RunDirectory
from tests.conftest import SMALL, picture

IMAGES = torch.stack([torch.from_numpy(picture(seed, 32, 32)).permute(2, 0, 1) for seed in range(6)])


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    """Ended after four steps, with a checkpoint of each."""
    settings = {**SMALL, "milestone_epochs": 0.4}
    return byol.pretrain(photos, epochs=1.6, out=tmp_path / "run", overrides=settings, say=lambda _: None).path


def test_newest_checkpoint_is_the_encoder_that_the_run_left(run: Path) -> None:
    saved = checkpoint.saved(RunDirectory(run).checkpoints)
    assert [checkpoint.step_of(file) for file in saved] == [1, 2, 3, 4]
    last = byol.load(run)(IMAGES)
    assert torch.equal(byol.load(saved[-1])(IMAGES), last)
    assert not torch.equal(byol.load(saved[0])(IMAGES), last)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (IMAGES[0], r"Tensor of shape \(3, 32, 32\)"),
        (IMAGES.numpy(), r"ndarray of shape \(6, 3, 32, 32\)"),
        ("a.jpg", "str"),
    ],
)
def test_encoder_says_what_it_takes(run: Path, images: object, found: str) -> None:
    with pytest.raises(EncoderError, match=rf"takes a tensor of images, \(N, C, H, W\).*found {found}\. "):
        byol.load(run)(images)


def test_checkpoint_is_evaluated_and_exported_as_a_run_is(run: Path, photos: Path, tmp_path: Path) -> None:
    file = checkpoint.saved(RunDirectory(run).checkpoints)[1]
    (result,) = evaluate(str(file), str(photos), ["knn"])
    assert result.path == file.with_suffix("") / "evaluation" / "knn.json"
    assert trained_images(str(file)).description == trained_images(str(run)).description
    views = (open_subject(str(name), trained_images(str(run))).pretraining_view for name in (file, run))
    assert next(views) == next(views)
    with pytest.raises(RunError, match="is not a run directory, so it has no target"):
        open_subject(str(file), trained_images(str(run)), network="target")
    export_encoder(file, "safetensors", tmp_path / "export")
    assert torch.equal(byol.load(tmp_path / "export")(IMAGES), byol.load(file)(IMAGES))
    assert "stopped at step 2" in (tmp_path / "export" / "README.md").read_text()
    assert checkpoint.load_newest(RunDirectory(run).checkpoints)[1]["step"] == 4


def test_run_that_broke_off_names_its_newest_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = BYOL.forward

    def breaks(method: BYOL, *views: torch.Tensor) -> MethodOutput:
        output = forward(method, *views)
        steps.append(1)
        return output if len(steps) < 4 else replace(output, loss=output.loss * math.nan)

    steps: list[int] = []
    monkeypatch.setattr(BYOL, "forward", breaks)
    settings = {**SMALL, "checkpoint_interval_minutes": 0}
    with pytest.raises(NonFiniteError):
        byol.pretrain(photos, epochs=8, out=tmp_path / "run", overrides=settings, say=lambda _: None)
    assert not (tmp_path / "run" / WEIGHTS).exists()
    with pytest.raises(
        RunError, match=r"is not finished. Give its newest checkpoint, (.*\.pt), to use the encoder"
    ) as told:
        byol.load(tmp_path / "run")
    named = str(told.value).split("checkpoint, ")[1].split(", to")[0]
    assert bool(byol.load(named)(IMAGES).isfinite().all())
    assert checkpoint.step_of(Path(named)) == 3
