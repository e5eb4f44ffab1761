"""Paths given by the user, and the cache folder that is shared between runs."""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from byol.errors import RunError


def user_path(text: str | Path) -> Path:
    """The path with `~` expanded. Raises RunError if there is no such home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise RunError(f"{text} cannot be found: {error} Give the whole path.") from error


def cache_folder(name: str) -> Path:
    """Path ~/.cache/byol/`name`; if there is no home folder, a path in a temporary folder of this user."""
    try:
        return Path.home() / ".cache" / "byol" / name
    except RuntimeError:
        return _temporary_home() / name


@cache
def _temporary_home() -> Path:
    """Temporary folder that no other user can write to, since compiled code is loaded from it."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"byol-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o022:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="byol-"))


def require_outside(out: Path, data: str) -> None:
    """Raises RunError if `out` is in the folder `data`, because its images would be read as data later."""
    folder = user_path(data) if data else None
    if folder is not None and folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"{out} is in the folder of the images, {folder}, where it would be read as data later. Choose another --out."
        )
