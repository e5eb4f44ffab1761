"""What a user can put right: one class per thing, each message says what was found, where, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class ByolError(Exception):
    """An error with a sentence for the user; the command line prints it without a traceback."""


class ConfigError(ByolError):
    """A setting is unknown or has an impossible value."""


class DataError(ByolError):
    """The data is missing, empty, too small, unreadable or not of the kind a command needs."""


class BrokenImageError(ByolError):
    """One image cannot be decoded; the caller skips and counts it."""


class RunError(ByolError):
    """A run directory is missing, foreign, incomplete, or already taken."""


class CheckpointError(ByolError):
    """A checkpoint is damaged or does not fit the model."""


class EncoderError(ByolError):
    """An encoder is unknown or cannot do what was asked of it."""


class NonFiniteError(ByolError):
    """The loss is no longer a finite number."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
        """The first step whose loss was not."""


class CollapseError(ByolError):
    """The run was stopped because its projections collapsed."""


class OutOfMemoryError(ByolError):
    """The device has too little memory for the batch."""


class RankError(ByolError):
    """Another process that trains the same network has ended."""


class DependencyError(ByolError):
    """An optional library is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
