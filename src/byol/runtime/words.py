"""Words of messages: counted nouns, and commands as the user can paste them."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def counted(count: int, noun: str) -> str:
    """The count with its noun: `1 channel`, `3 channels`, `1,200 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shortened(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def command(*words: object) -> str:
    """A `byol` command to paste, started as this process was: `byol`, a path to it, or `python -m byol`."""
    return f"{_program()} {shlex.join(str(word) for word in words)}"


def _program() -> str:
    started = sys.argv[0] if sys.argv else ""
    if started.endswith(str(Path("byol") / "__main__.py")):
        found = shutil.which("python")
        is_this = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
        return f"{'python' if is_this else shlex.quote(sys.executable)} -m byol"
    found = shutil.which("byol")
    is_this = found is not None and Path(found).absolute() == Path(started).absolute()
    return shlex.quote(started) if Path(started).name == "byol" and not is_this else "byol"
