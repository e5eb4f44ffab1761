"""Checkpoints: files that hold the whole training state and are read without unpickling anything.

A checkpoint is written to a temporary file, synced and renamed. Its name, step_STEP.CHECKSUM.pt, shows whether the
file is complete and undamaged before its content is read.
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
"""Hexadecimal digits of the SHA-256 in a checkpoint's name."""


def save(directory: Path, state: dict[str, Any], *, keep: int = 2, milestone_steps: int = 0) -> Path:
    """Writes a checkpoint, deletes all but the newest `keep` and the milestones, and returns its path.

    Every checkpoint whose step is a multiple of `milestone_steps` is a milestone; 0: none is.
    """
    directory.mkdir(exist_ok=True)
    for unfinished in [*directory.glob(".step_*"), *directory.glob("step_*.part")]:  # left by a killed process
        unfinished.unlink()
    step = state["step"]
    writing = directory / f"step_{step:08d}.pt.part"
    with replacing(writing) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's error for a full disk
            raise OSError(str(error).splitlines()[0]) from error
    path = writing.rename(directory / f"step_{step:08d}.{_checksum(writing)}.pt")
    for old in saved(directory)[:-keep]:
        if old != path and not (milestone_steps and step_of(old) % milestone_steps == 0):
            old.unlink()
    return path


def saved(directory: Path) -> list[Path]:
    """All checkpoints in `directory`, oldest first."""
    times: dict[Path, int] = {}
    for path in directory.glob("step_*.pt"):
        with contextlib.suppress(FileNotFoundError):  # a running training deletes old checkpoints
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: (step_of(path), times[path]))


def load_newest(directory: Path, warn: Callable[[str], None] = lambda line: None) -> tuple[Path, dict[str, Any]]:
    """(path, state) of the newest readable checkpoint; `warn` gets a line for each newer one that is unreadable.

    Raises CheckpointError if none is readable.
    """
    reasons: list[str] = []
    for path in reversed(saved(directory)):
        try:
            state = load(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warn(f"{reason} Using {path.name}, the checkpoint before it.")
        return path, state
    raise CheckpointError(
        " ".join(reasons) or f"{directory} holds no checkpoint: the run stopped before its first. Start a new run."
    )


def load(path: Path) -> dict[str, Any]:
    """Reads one checkpoint onto the CPU. Raises CheckpointError if it is damaged or of another program."""
    try:
        if path.suffixes[-2:-1] != [f".{_checksum(path)}"]:
            raise CheckpointError(f"{path} is damaged: its content does not match the checksum in its name.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol of a foreign file
            state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch's restricted reader raises many kinds for foreign bytes
        raise CheckpointError(f"{path} is not a checkpoint ({(str(error).splitlines() or ['?'])[0]}).") from error
    if not isinstance(state, dict) or not {"step", "method", "optimizer", "collapse"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of this package.")
    return state


def step_of(path: Path) -> int:
    """The step in a checkpoint's name; -1 if the name has none."""
    digits = path.name.removeprefix("step_").split(".")[0]
    return int(digits) if digits.isdecimal() else -1


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:CHECKSUM_LENGTH]
