"""The demo, whole: the README's first command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from byol.cli import main
from byol.commands import demo as demo_module
from byol.commands import plan as plan_module
from byol.data.sample import open_sample
from byol.errors import ConfigError
from byol.recipes import recipe


@pytest.mark.full
def test_demo_ends_in_ten_minutes_ahead_of_the_untrained_encoder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "byol", "demo", "--out", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    assert "images/s" in ended.stdout
    result = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert result["elapsed_seconds"] < 600
    assert all(gain["low"] > 0 for gain in result["gains"]["random"].values())


def test_demo_one_epoch_prints_the_table(tmp_path: Path) -> None:
    small = [
        "--epochs",
        "0.2",
        "--encoder.width",
        "0.125",
        "--heads.projector-hidden",
        "32",
        "--heads.predictor-hidden",
        "32",
    ]
    command = [sys.executable, "-m", "byol", "demo", "--out", str(tmp_path / "demo"), *small]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    for row in ("raw pixels", "encoder, untrained", "encoder, BYOL", "BYOL minus raw pixels"):
        assert row in ended.stdout
    scores = json.loads((tmp_path / "demo" / "demo.json").read_text())["scores"]
    assert scores["pixels"]["knn"]["value"] == pytest.approx(81.9, abs=0.2)


@pytest.mark.parametrize(("arguments", "planned"), [([], True), (["--epochs", "16"], False), (["--epochs=3"], False)])
def test_demo_keeps_the_epochs_that_the_user_named(
    arguments: list[str], planned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stop(*_: object, **__: object) -> None:
        raise ConfigError("stopped before the training")

    monkeypatch.setattr(demo_module, "fitting", lambda config, *_: (asked.append(config), config)[1])
    monkeypatch.setattr(demo_module, "start", stop)
    with pytest.raises(SystemExit):
        main(["demo", "--out", str(tmp_path / "demo"), *arguments])
    assert len(asked) == planned


@pytest.mark.parametrize(("images_per_second", "epochs"), [(1000.0, 16.0), (100.0, 3.9)])
def test_demo_has_fewer_epochs_where_they_would_take_too_long(
    images_per_second: float, epochs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (images_per_second, 64, 0))
    said: list[str] = []
    config = demo_module.fitting(recipe("sample").config, open_sample("train"), said.append)
    assert config.epochs == pytest.approx(epochs, abs=0.1)  # of 12,000 images, in 474 seconds
    assert len(said) == (epochs < 16)
