"""Errors that the user can correct. Every message says what was found, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class ByolError(Exception):
    """An error with a sentence for the user; the command line prints it without a traceback."""


class ConfigError(ByolError):
    """A setting is unknown or its value is outside the allowed range."""


class DataError(ByolError):
    """The data is missing, empty, too small, unreadable, or of the wrong kind for the command."""


class AmbiguousDataError(DataError):
    """A name stands for a data set and for a folder or file here."""

    def __init__(self, message: str, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(message)
        self.name = name
        self.choices = choices
        """Clear names to write instead."""


class BrokenImageError(ByolError):
    """One image cannot be decoded; the caller skips and counts it."""


class RunError(ByolError):
    """A run directory is missing, incomplete, already in use, or not a run directory at all."""


class CheckpointError(ByolError):
    """A checkpoint is damaged or does not fit the model."""


class EncoderError(ByolError):
    """An encoder is unknown or does not support the requested operation."""


class NonFiniteError(ByolError):
    """The loss is infinite or not a number."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
        """First step with such a loss."""


class CollapseError(ByolError):
    """The run stopped because its projections collapsed (`stop_on_collapse`)."""


class OutOfMemoryError(ByolError):
    """The device has too little memory for the batch."""


class RankError(ByolError):
    """Another process of the same training has ended."""


class DependencyError(ByolError):
    """An optional library is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint ` Did you mean 'x'?` with the known name closest to `name`; empty if none is close."""
    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
