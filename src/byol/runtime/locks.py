"""A lock between processes of one machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Context that only one process of this machine is in at a time, so that the first can do work for all.

    The lock is a file in `folder`. Without file locks or write permission the processes are not held back.
    """
    with contextlib.ExitStack() as lock:
        with contextlib.suppress(OSError, ImportError):
            folder.mkdir(parents=True, exist_ok=True)
            import fcntl

            fcntl.flock(lock.enter_context((folder / ".lock").open("w")), fcntl.LOCK_EX)
        yield
