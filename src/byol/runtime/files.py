"""Files written whole or not at all, and new folders."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from byol.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside, syncs and renames: `path` holds the old content or the new one, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_atomically` of an object."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` where the block ends without an error.

    Raises RunError where the disk refuses (full, read-only), leaving `path` as it was.
    """
    temporary = path
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        with contextlib.suppress(PermissionError):  # a file system without permissions
            temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}). Free some space or choose another --out."
        ) from error
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes `path` and what is above it, where it is not there. Raises RunError where the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {path} cannot be made ({error.strerror}). Choose another --out.") from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` where the block ends without an error; else nothing is left.

    Raises RunError where something lies at `path`, or the disk refuses.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already and is not an empty folder. Choose another --out.")
    writing = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield writing
        writing.chmod(0o755)
        writing.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}). Choose another --out.") from error
    finally:
        if writing is not None:
            shutil.rmtree(writing, ignore_errors=True)


def finite(tree: Any) -> Any:
    """The same with None for what JSON has no number for: NaN and the infinities."""
    if isinstance(tree, Mapping):
        return {name: finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
