"""Files and folders that are written completely or not at all."""

import contextlib
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from byol.errors import DataError, RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a temporary file, syncs and renames it: `path` holds the old content or the new, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing, unreadable or holds no object."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context with a temporary path to write to. It replaces `path` when the block ends without an error.

    Raises RunError if the disk is full or read-only; `path` is then unchanged.
    """
    temporary = path
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        with contextlib.suppress(PermissionError):  # the file system has no permissions
            temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}). Free some space or choose another --out."
        ) from error
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def require_new_file(path: Path, *endings: str) -> None:
    """Raises DataError if the ending is none of these, the file exists already, or its folder does not exist."""
    if path.suffix.lower() not in endings:
        raise DataError(f"{path} must end in {' or '.join(endings)}.")
    if path.exists():
        raise DataError(f"{path} exists already; choose another --out.")
    if not path.parent.is_dir():
        raise DataError(f"The folder {path.parent} does not exist; make it, or choose another --out.")


def make_folder(path: Path) -> None:
    """Creates `path` and its parents if they are missing. Raises RunError if the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {path} cannot be created ({error.strerror}). Choose another --out.") from error


def require_new_folder(path: Path, option: str = "--out") -> None:
    """Raises RunError if `path`, given by an option, exists and is not an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already and is not an empty folder. Choose another {option}.")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Context with a temporary folder to fill. It becomes `path` when the block ends without an error, else it is deleted.

    Raises RunError if `path` exists and is not an empty folder, or if the disk refuses.
    """
    require_new_folder(path)
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


def put_file(original: Path, folder: Path, name: str, *, linked: bool) -> Path:
    """Path of the new copy of a file, or of the link to it, in `folder`: `name`, or STEM-2, STEM-3 and so on where that is taken.

    Raises RunError if the disk refuses.
    """
    stem, ending = os.path.splitext(name)
    for number in itertools.count(1):
        path = folder / (name if number == 1 else f"{stem}-{number}{ending}")
        try:
            if linked:
                path.symlink_to(original.resolve())
            else:
                with original.open("rb") as content, path.open("xb") as copy:
                    shutil.copyfileobj(content, copy)
                shutil.copystat(original, path)
            return path
        except FileExistsError:
            continue
        except OSError as error:
            what = "linked" if linked else "copied"
            reason = error.strerror or error
            raise RunError(f"{original} cannot be {what} to {path} ({reason}); nothing was written.") from error
    raise AssertionError


def finite(tree: Any) -> Any:
    """`tree` with None in place of NaN and infinity, which JSON has no numbers for."""
    if isinstance(tree, Mapping):
        return {name: finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
