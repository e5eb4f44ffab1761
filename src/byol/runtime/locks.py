"""Locks between processes of one machine."""

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from byol.errors import RunError

_held: set[TextIO] = set()
"""Files of the locks by `alone` that this process holds."""


def _close_inherited() -> None:
    """Closes lock files in a newly forked worker: one that outlives its killed parent would keep the lock."""
    for stream in _held:
        stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


@contextlib.contextmanager
def alone(folder: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Context that only one process of this machine is in for `folder`; the system releases the lock of a process that dies.

    Without file locks the processes are not held back. Raises RunError with what `refusal` makes of the other process's name
    if there is another one, OSError if the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    with (folder / ".lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise RunError(refusal(stream.read().strip() or "unknown")) from None
        except OSError:  # the file system has no locks
            pass
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}\n")
        stream.flush()
        _held.add(stream)
        try:
            yield
        finally:
            _held.discard(stream)


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
