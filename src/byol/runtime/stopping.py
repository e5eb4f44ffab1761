"""Stop signals: SIGINT (Ctrl-C), SIGTERM and SIGUSR1 (SLURM's usual warning) end a training after its current step."""

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
"""Signals within this time count as one request: a group of processes gets the same signal directly and from its first."""


class StopRequest:
    """Context in which SIGINT, SIGTERM and SIGUSR1 only set `signal_number`. A second Ctrl-C ends the process at once.

    A repeated SIGTERM or SIGUSR1 has no effect: launchers pass signals on, and a long operation delays their arrival.
    If the block ends with an error for which `causes_sigterm` is true, SIGTERM stays ignored: it was sent because of
    that error and would end the process before the error is reported.
    """

    def __init__(self, causes_sigterm: Callable[[BaseException], bool] = lambda error: False) -> None:
        self._causes_sigterm = causes_sigterm
        self.signal_number: int | None = None
        self._first_signal_at = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._causes_sigterm(error) and signal.SIGTERM in self._previous:
            self._previous[signal.SIGTERM] = signal.SIG_IGN
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._first_signal_at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._first_signal_at > ONE_REQUEST_SECONDS:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous.clear()


@contextlib.contextmanager
def ignoring_stop_signals() -> Iterator[None]:
    """Processes started in this block ignore SIGINT, SIGTERM and SIGUSR1; the parent handles them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import forkserver, resource_tracker  # not on Windows

    if (method := multiprocessing.get_start_method()) == "forkserver":
        forkserver.ensure_running()  # first, or all its later processes would ignore the signals, too
    elif method == "spawn":
        resource_tracker.ensure_running()  # first, because its start unblocks the signals
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def stop_only_for(parent: int) -> None:
    """Makes this process ignore stop signals, except SIGTERM from the process `parent` (an id), which ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_exit_on_sigterm_of, args=(parent,), daemon=True).start()


def _exit_on_sigterm_of(parent: int) -> None:
    if hasattr(signal, "sigwaitinfo"):
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
    else:  # macOS does not name the sender
        signal.sigwait({signal.SIGTERM})
    os._exit(0)
