"""Checkpoints: the raw state, written beside, synced and renamed; read back without unpickling anything."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from byol.errors import CheckpointError
from byol.runtime.record import replacing

KEEP = 2


def save(directory: Path, state: dict[str, Any]) -> Path:
    """Writes step_XXXXXXXX.pt; keeps the newest two."""
    path = directory / f"step_{state['step']:08d}.pt"
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(str(error).splitlines()[0]) from error
    for old in saved(directory)[:-KEEP]:
        old.unlink()
    return path


def saved(directory: Path) -> list[Path]:
    """All checkpoints, oldest first."""
    return sorted(directory.glob("step_*.pt"))


def load_newest(directory: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint that can be read. Raises CheckpointError where there is none."""
    reasons = []
    for path in reversed(saved(directory)):
        try:
            return path, load(path)
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError(
        " ".join(reasons) or f"{directory} holds no checkpoint: the run stopped before its first. Start it anew."
    )


def load(path: Path) -> dict[str, Any]:
    """Reads one checkpoint. Raises CheckpointError where it is damaged or not one of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a foreign file's pickle protocol
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({str(error).splitlines()[0]}).") from error
    if not isinstance(state, dict) or not {"step", "method", "optimizer", "collapse"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of this package.")
    return state
