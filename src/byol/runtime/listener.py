"""Listeners: whoever is told how a piece of work proceeds, a terminal or a page."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """Three callables; each does nothing by default."""

    say: Callable[[str], None] = _ignore
    """One line of text."""
    work: Callable[[str, int, int], None] = _ignore
    """A piece of work in progress: (name, done, total)."""
    step: Callable[[Any], None] = _ignore
    """A training in progress: `engine.progress.Progress`."""

    def unfailing(self) -> "Listener":
        """A copy whose calls never raise OSError: a closed terminal or a log on a full disk must not end a training."""
        return Listener(_unfailing(self.say), _unfailing(self.work), _unfailing(self.step))


def _unfailing(tell: Callable[..., None]) -> Callable[..., None]:
    def told(*what: Any) -> None:
        with contextlib.suppress(OSError):
            tell(*what)

    return told


SILENT = Listener()
