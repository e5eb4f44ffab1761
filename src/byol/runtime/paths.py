"""Paths that users give, and the folder of what is kept between runs."""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from byol.errors import RunError


def user_path(text: str | Path) -> Path:
    """The path with `~` expanded. Raises RunError where there is no such home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise RunError(f"{text} cannot be found: {error} Give the whole path.") from error


def cache_folder(name: str) -> Path:
    """~/.cache/byol/`name`; without a home folder, a folder of this user among the temporary files."""
    try:
        return Path.home() / ".cache" / "byol" / name
    except RuntimeError:
        return _temporary_home() / name


@cache
def _temporary_home() -> Path:
    """A folder that nobody else can write to: compiled code is loaded from it."""
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
    """Raises RunError where `out` lies in the folder `data`, which would hold other images from then on."""
    folder = user_path(data) if data else None
    if folder is not None and folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"{out} lies in the folder of the images, {folder}, where it would be taken for data later. Choose another --out."
        )
