"""The demo, whole: the README's first command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


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
