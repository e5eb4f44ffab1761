"""Checkpoints: the raw state, written beside, synced and renamed; read back without unpickling anything.

A file is called step_STEP.CHECKSUM.pt, so that a torn or damaged one is known before it is read.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from byol.errors import CheckpointError
from byol.runtime.files import replacing

CHECKSUM_LENGTH = 16


def save(directory: Path, state: dict[str, Any], *, keep: int = 2, milestone_steps: int = 0) -> Path:
    """Writes a checkpoint; keeps the newest `keep`, and those of every `milestone_steps` steps for good."""
    directory.mkdir(exist_ok=True)
    for torn in [*directory.glob(".step_*"), *directory.glob("step_*.part")]:  # of a process that was killed
        torn.unlink()
    step = state["step"]
    writing = directory / f"step_{step:08d}.pt.part"
    with replacing(writing) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(str(error).splitlines()[0]) from error
    path = writing.rename(directory / f"step_{step:08d}.{_checksum(writing)}.pt")
    for old in saved(directory)[:-keep]:
        if old != path and not (milestone_steps and step_of(old) % milestone_steps == 0):
            old.unlink()
    return path


def saved(directory: Path) -> list[Path]:
    """All checkpoints, oldest first."""
    times: dict[Path, int] = {}
    for path in directory.glob("step_*.pt"):
        with contextlib.suppress(FileNotFoundError):  # a run going on removes old ones
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: (step_of(path), times[path]))


def load_newest(directory: Path, warn: Callable[[str], None] = lambda line: None) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint that can be read; `warn` is told of newer ones. Raises CheckpointError where there is none."""
    reasons: list[str] = []
    for path in reversed(saved(directory)):
        try:
            state = load(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warn(f"{reason} Using {path.name}, the one before.")
        return path, state
    raise CheckpointError(
        " ".join(reasons) or f"{directory} holds no checkpoint: the run stopped before its first. Start it anew."
    )


def load(path: Path) -> dict[str, Any]:
    """Reads one checkpoint. Raises CheckpointError where it is damaged or not one of ours."""
    try:
        if path.suffixes[-2:-1] != [f".{_checksum(path)}"]:
            raise CheckpointError(f"{path} is damaged: its content is not what its name says.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a foreign file's pickle protocol
            state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever torch's restricted reader makes of foreign bytes
        raise CheckpointError(f"{path} is not a checkpoint ({(str(error).splitlines() or ['?'])[0]}).") from error
    if not isinstance(state, dict) or not {"step", "method", "optimizer", "collapse"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of this package.")
    return state


def step_of(path: Path) -> int:
    """The step that a checkpoint's name tells; −1 where it tells none."""
    digits = path.name.removeprefix("step_").split(".")[0]
    return int(digits) if digits.isdecimal() else -1


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:CHECKSUM_LENGTH]
