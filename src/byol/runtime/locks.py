"""A lock between processes of one machine."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def one_at_a_time(folder: Path, waits: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Context that only one process of this machine is in at a time, so that the first can do work for all.

    The lock is a file in `folder`. Without file locks or write permission the processes are not held back; the context
    then is False. `waits` is called if another process holds the lock.
    """
    with contextlib.ExitStack() as lock:
        is_locked = False
        with contextlib.suppress(OSError, ImportError):
            folder.mkdir(parents=True, exist_ok=True)
            import fcntl

            stream = lock.enter_context((folder / ".lock").open("w"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits()
                fcntl.flock(stream, fcntl.LOCK_EX)
            is_locked = True
        yield is_locked
