"""Runs of five epochs on 64 pictures, in process, and what they leave."""

from pathlib import Path

import numpy as np
import pytest

import byol
from byol.engine.metrics import read_metrics
from byol.runtime import checkpoint
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(64)])


def run(out: Path, data=PICTURES, **overrides) -> byol.Run:
    return byol.pretrain(data, "small", out=out, overrides={**SMALL, "epochs": 5, **overrides}, say=lambda line: None)


def losses(path: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(path / "metrics.jsonl")]


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


def checkpoints(run: Path) -> list[Path]:
    return checkpoint.saved(run / "checkpoints")
