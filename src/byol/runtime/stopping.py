"""Stopping on Ctrl-C, SIGTERM and SIGUSR1 (SLURM's usual warning) at the end of a step, so that nothing is lost."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


ONE_REQUEST_SECONDS = 1.0
"""Signals so close together are one request, sent to a group of processes and passed on by its first as well."""


class StopRequest:
    """While entered, SIGINT, SIGTERM and SIGUSR1 set `signal_number` in place of killing; a later one kills as usual.

    After an error that is `told_first`, SIGTERM stays without effect: it is sent because of that same error, and would
    end the process before it has said what happened.
    """

    def __init__(self, told_first: Callable[[BaseException], bool] = lambda error: False) -> None:
        self._told_first = told_first
        self.signal_number: int | None = None
        self._asked_at = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._told_first(error) and signal.SIGTERM in self._previous:
            self._previous[signal.SIGTERM] = signal.SIG_IGN
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._asked_at = number, time.monotonic()
        elif time.monotonic() - self._asked_at > ONE_REQUEST_SECONDS:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous.clear()
