"""Trackers: a run's metrics in TensorBoard or Weights & Biases, in addition to metrics.jsonl."""

import hashlib
import importlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from byol.errors import DependencyError

TrackerName = Literal["none", "tensorboard", "wandb"]


class Tracker(Protocol):
    """Receiver of a run's metrics."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes one row: `step`, and numbers by name."""
        ...

    def close(self) -> None:
        """Ends the tracking."""
        ...


def open_tracker(name: TrackerName, run: Path, config: Mapping[str, Any], first_step: int) -> Tracker | None:
    """The named tracker, with its files in `run`. A resumed run continues the same record from `first_step`.

    Raises DependencyError if the tracker's library is not installed.
    """
    if name == "tensorboard":
        return _TensorBoard(run, first_step)
    if name == "wandb":
        return _WandB(run, config)
    return None


class _TensorBoard:
    """TensorBoard event files in `tensorboard/`. TensorBoard itself drops events after the step where a resume starts."""

    def __init__(self, run: Path, first_step: int) -> None:
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first_step or None)

    def write(self, row: Mapping[str, Any]) -> None:
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WandB:
    """A W&B run with the name of the run directory.

    WANDB_PROJECT names the project (byol by default); WANDB_MODE=offline keeps all data on this machine.
    """

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        wandb = _require("wandb")

        logging.getLogger("wandb").setLevel(logging.ERROR)
        identity = hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:12]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "byol"),
            name=run.name,
            id=identity,
            resume="allow",
            dir=str(run),
            config=dict(config),
        )

    def write(self, row: Mapping[str, Any]) -> None:
        self._run.log(_numbers(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {n: v for n, v in row.items() if n != "step" and isinstance(v, int | float) and not isinstance(v, bool)}


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DependencyError(f"--track {name} needs {name}, which is not installed: pip install {name}.") from None
