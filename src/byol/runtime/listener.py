"""Listeners: callbacks that report progress to a terminal or a page."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """Three callbacks for progress; each does nothing by default."""

    say: Callable[[str], None] = _ignore
    """Called with one line of text."""
    work: Callable[[str, int, int], None] = _ignore
    """Called with the progress of a task: (name, number done, total number)."""
    step: Callable[[Any], None] = _ignore
    """Called with the progress of a training, an `engine.progress.Progress`."""

    def unfailing(self) -> "Listener":
        """A copy whose callbacks never raise OSError: a closed terminal or a full disk must not stop a training."""
        return Listener(_unfailing(self.say), _unfailing(self.work), _unfailing(self.step))


def _unfailing(callback: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            callback(*arguments)

    return call


SILENT = Listener()
"""A listener that reports nothing."""
