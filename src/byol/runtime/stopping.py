"""Stopping on Ctrl-C, SIGTERM and SIGUSR1 (SLURM's usual warning) at the end of a step, so that nothing is lost."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
ONE_REQUEST_SECONDS = 1.0
"""Signals so close together are one request, sent to a group of processes and passed on by its first as well."""


class StopRequest:
    """While entered, SIGINT, SIGTERM and SIGUSR1 set `signal_number` in place of killing; Ctrl-C once more ends at once.

    A repeated SIGTERM or SIGUSR1 changes nothing: launchers pass them on, and one that comes in a long operation is
    heard late. After an error that is `told_first`, SIGTERM stays without effect: it is sent because of that same error,
    and would end the process before it has said what happened.
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
        elif number == signal.SIGINT and time.monotonic() - self._asked_at > ONE_REQUEST_SECONDS:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous.clear()


@contextlib.contextmanager
def born_deaf() -> Iterator[None]:
    """Processes that are started within the block hear nothing of what asks a training to stop."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import forkserver, resource_tracker  # not on Windows

    if (method := multiprocessing.get_start_method()) == "forkserver":
        forkserver.ensure_running()  # before: whatever else comes of it would be born deaf
    elif method == "spawn":
        resource_tracker.ensure_running()  # before: its start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def deaf_but_to(parent: int) -> None:
    """Nothing that asks a training to stop reaches this process, be it sent to all; SIGTERM of `parent` alone ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_end_by, args=(parent,), daemon=True).start()


def _end_by(parent: int) -> None:
    if hasattr(signal, "sigwaitinfo"):
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
    else:  # macOS does not tell whose it is
        signal.sigwait({signal.SIGTERM})
    os._exit(0)
