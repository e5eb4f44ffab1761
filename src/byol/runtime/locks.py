"""One process at a time, where several of a machine would do the same work."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """The ranks of a machine do the block one after the other, so that the first does it for all.

    Where the system knows no locks, or the folder cannot be written, each does it when it comes.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, ImportError):
            folder.mkdir(parents=True, exist_ok=True)
            import fcntl

            fcntl.flock(held.enter_context((folder / ".lock").open("w")), fcntl.LOCK_EX)
        yield
