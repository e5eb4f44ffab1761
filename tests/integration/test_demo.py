"""The demo, whole: the README's first command."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from byol.assembly.settings import Asked
from byol.cli.main import main
from byol.commands import demo as demo_module
from byol.commands.pretrain import Request
from byol.data import named as data_open
from byol.data.arrays import ArrayImages
from byol.data.profile import profile
from byol.data.public import Split
from byol.data.sample import open_sample
from byol.data.source import SkippedImages
from byol.errors import ConfigError
from byol.recipes import recipe
from byol.runtime.listener import Listener
from byol.runtime.ranks import Ranks
from byol.training import plan as plan_module
from byol.training.plan import TimeLimit, plan_by_time


@pytest.mark.full
def test_demo_ends_in_ten_minutes_ahead_of_the_untrained_encoder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "byol", "demo", "--out", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    assert "images/s" in ended.stdout
    result = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert result["elapsed_seconds"] < 600
    assert all(gain["low"] > 0 for gain in result["gains"]["random"].values())


def part_of_sample(split: Split) -> ArrayImages:
    """A tenth of the bundled images."""
    whole = open_sample(split)
    assert whole.labels is not None
    return ArrayImages(whole.pixels[::10], whole.labels[::10], whole.class_names, whole.description)


def knn_of_pixels() -> float:
    """Accuracy in %, by numpy alone: k 20, weights exp(cosine / 0.1)."""
    train, test = part_of_sample("train"), part_of_sample("test")
    assert train.labels is not None and test.labels is not None
    bank, queries = (part.pixels.reshape(len(part), -1) / 255.0 for part in (train, test))
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (bank / np.linalg.norm(bank, axis=1)[:, None]).T
    nearest = np.argsort(-cosines, axis=1)[:, :20]
    votes = np.zeros((len(test), 10))
    for row, found in enumerate(nearest):
        np.add.at(votes[row], train.labels[found], np.exp(cosines[row, found] / 0.1))
    return 100 * float((votes.argmax(axis=1) == test.labels).mean())


def test_demo_one_epoch_prints_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (demo_module, data_open):
        monkeypatch.setattr(module, "open_sample", part_of_sample)
    small = ["--encoder.width", "0.125", "--heads.projector-hidden", "32", "--heads.predictor-hidden", "32"]
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", str(tmp_path / "demo"), "--epochs", "1", *small])
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    for row in ("raw pixels", "encoder, untrained", "encoder, BYOL", "BYOL minus raw pixels"):
        assert row in said
    scores = json.loads((tmp_path / "demo" / "demo.json").read_text())["scores"]
    assert scores["pixels"]["knn"]["value"] == pytest.approx(knn_of_pixels(), abs=0.51)  # one image of 200
    assert (tmp_path / "demo" / "report.html").exists()


@pytest.mark.parametrize(("arguments", "planned"), [([], True), (["--epochs", "16"], False), (["--epochs=3"], False)])
def test_demo_keeps_the_epochs_that_the_user_named(
    arguments: list[str], planned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def stop(request: Request, listener: Listener) -> None:
        limits.append(request.limit)
        raise ConfigError("stopped before the training")

    monkeypatch.setattr(demo_module, "start", stop)
    with pytest.raises(SystemExit):
        main(["demo", "--out", str(tmp_path / "demo"), *arguments])
    (limit,) = limits
    assert (limit is not None) == planned
    if limit:
        assert (limit.minutes, limit.most_epochs) == (8, recipe("sample").config.epochs)


@pytest.mark.parametrize(("images_per_second", "epochs"), [(1000.0, 16.0), (100.0, 3.9)])
def test_plan_has_fewer_epochs_where_they_would_take_too_long(
    images_per_second: float, epochs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (images_per_second, 64, 0))
    sample, train = recipe("sample"), open_sample("train")
    limit = TimeLimit(8, time.monotonic(), most_epochs=16)
    found = plan_by_time(limit, Asked(sample.config, sample), train, profile(train, SkippedImages()), Ranks())
    assert found.most_steps == 16 * 12_000 // 64
    assert found.config.epochs == pytest.approx(epochs, abs=0.1)  # of 12,000 images, in 474 seconds
    assert (found.config.epochs == 16) == ("enough for 16 epochs, 3,000 steps of 64" in found.notes[-1])
