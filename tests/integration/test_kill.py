"""Training that is killed at random moments, without a chance to say goodbye, ends as if it had not been."""

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from byol.engine.metrics import read_metrics
from byol.runtime import checkpoint
from tests.conftest import SMALL
from tests.processes import Command

TIMING = {"images_per_second", "elapsed_seconds"}


def start(photos: Path, out: Path, steps: int, precision: str, workers: int) -> Command:
    settings = {
        **SMALL, "epochs": (steps + 0.5) * 16 / 40, "precision": precision, "workers": workers,
        "checkpoint_interval_minutes": 0, "collapse_interval_steps": 3, "log_interval_steps": 2,
    }  # fmt: skip
    arguments = ["pretrain", "--data", photos, "--out", out, "--resume", "auto"]
    return Command(*arguments, *(f"--{name}={value}" for name, value in settings.items()), num_threads=1)


def finish(command: Command) -> None:
    code, said = command.wait()
    assert code == 0, said
    assert "finished after" in said


def newest_step(out: Path) -> int:
    found = checkpoint.saved(out / "checkpoints") if (out / "checkpoints").exists() else []
    return checkpoint.step_of(found[-1]) if found else -1


def compare_with_killed(photos: Path, folder: Path, *, kills: int, precision: str, workers: int, seed: int = 0) -> None:
    steps, chance = 6 * kills + 10, random.Random(seed)
    finish(start(photos, folder / "whole", steps, precision, workers))
    for _ in range(kills):
        until = newest_step(folder / "killed") + chance.randint(1, 5)
        command = start(photos, folder / "killed", steps, precision, workers)
        try:
            while newest_step(folder / "killed") < until and command.process.is_alive():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
        finally:
            command.process.kill()
            code, said = command.wait()
        assert code == -signal.SIGKILL, said
    assert newest_step(folder / "killed") < steps
    finish(start(photos, folder / "killed", steps, precision, workers))

    rows = [
        [{k: v for k, v in row.items() if k not in TIMING} for row in read_metrics(folder / name / "metrics.jsonl")]
        for name in ("whole", "killed")
    ]
    assert len(rows[0]) == steps // 2 + 1
    assert rows[0] == rows[1]
    whole, killed = (
        checkpoint.load(checkpoint.saved(folder / name / "checkpoints")[-1]) for name in ("whole", "killed")
    )
    assert whole["step"] == killed["step"] == steps
    assert all(torch.equal(tensor, killed["method"][name]) for name, tensor in whole["method"].items())
    encoders = [load_file(folder / name / "encoder.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(tensor, encoders[1][name]) for name, tensor in encoders[0].items())


def test_killed_five_times_ends_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    compare_with_killed(photos, tmp_path, kills=5, precision="fp32", workers=1)


@pytest.mark.full
@pytest.mark.parametrize(("precision", "workers"), [("fp32", 0), ("bf16", 1)])
def test_killed_fifty_times_ends_bit_for_bit(photos: Path, tmp_path: Path, precision: str, workers: int) -> None:
    compare_with_killed(photos, tmp_path, kills=50, precision=precision, workers=workers, seed=1)
