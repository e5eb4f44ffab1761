"""Which image files lie below a folder: names in one block of bytes, so that a million cost some 50 MB.

The order is that of the sorted paths, the same on every file system. A large index is kept in the cache folder with
the modification time of every folder it saw, and used again as long as none of these changed.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LEFT_OUT = (
    *(".heic", ".heif", ".avif", ".gif", ".jxl", ".jp2"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Images, too, but not read: counted, so that a folder of them is not taken for an empty one."""
CONTAINERS = (".parquet", ".tar")
"""Files of many images: counted, since a folder of images leaves them out."""
CACHED_FROM = 20_000
"""Files; smaller folders are looked through in no time."""


class Names:
    """A list of strings as two arrays."""

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.content = content
        self.ends = ends

    @classmethod
    def of(cls, names: Iterator[str]) -> "Names":
        content, ends = bytearray(), []
        for name in names:
            content += os.fsencode(name)
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), np.uint8), np.asarray(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.content[start : self.ends[index]].tobytes())


@dataclass
class FileIndex:
    """Paths of images relative to the folder, in sorted order."""

    paths: Names
    folders: dict[str, int] = field(default_factory=dict)
    """Modification time in nanoseconds of every folder looked at, by relative path."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Folders that could not be looked at, with the reason."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many files of each ending in LEFT_OUT and CONTAINERS there are."""


def index_files(root: Path, cache: Path | None) -> FileIndex:
    """All image files below `root`, from the cache folder where nothing changed since. Hidden ones are left out.

    Links to folders are followed, but not back into a folder on the way.
    """
    kept = None if cache is None else cache / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.npz"
    if kept is not None and (known := _read(kept)) is not None and _is_current(root, known):
        return known
    found = FileIndex(Names.of(iter(())))
    found.paths = Names.of(_walk(root, "", (), found))
    if kept is not None and len(found.paths) >= CACHED_FROM and not found.unreadable:
        _write(kept, found)
    return found


def _walk(root: Path, relative: str, above: tuple[tuple[int, int], ...], found: FileIndex) -> Iterator[str]:
    """Depth first; a folder sorts as its name with a slash, which gives the order of the sorted paths."""
    try:
        status = os.stat(root / relative)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        inside = []
        with os.scandir(root / relative) as entries:
            for entry in entries:
                name = entry.name
                ending = name[name.rfind(".") :].lower()
                if name.startswith("."):
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError as error:  # a link that leads nowhere one may go
                    found.unreadable[relative + name] = error.strerror or str(error)
                    continue
                if is_folder:
                    inside.append(name + "/")
                elif ending in EXTENSIONS:
                    inside.append(name)
                elif ending in (*LEFT_OUT, *CONTAINERS):
                    found.left_out[ending] = found.left_out.get(ending, 0) + 1
        inside.sort()
    except OSError as error:
        found.unreadable[relative or "."] = error.strerror or str(error)
        return
    found.folders[relative] = status.st_mtime_ns
    for name in inside:
        if name.endswith("/"):
            yield from _walk(root, relative + name, (*above, identity), found)
        else:
            yield relative + name


def _is_current(root: Path, known: FileIndex) -> bool:
    try:
        return all(os.stat(root / folder).st_mtime_ns == time for folder, time in known.folders.items())
    except OSError:
        return False


def _write(path: Path, found: FileIndex) -> None:
    """A cache that cannot be written is done without."""
    folders = Names.of(iter(found.folders))
    times = np.asarray(list(found.folders.values()), np.int64)
    left_out = Names.of(iter(found.left_out))
    counts = np.asarray(list(found.left_out.values()), np.int64)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            temporary,
            paths=found.paths.content,
            path_ends=found.paths.ends,
            folders=folders.content,
            folder_ends=folders.ends,
            times=times,
            left_out=left_out.content,
            left_out_ends=left_out.ends,
            left_out_counts=counts,
        )
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> FileIndex | None:
    """None where there is none, or where it is not one of ours: it is made again then."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            paths = Names(arrays["paths"], arrays["path_ends"])
            folders = Names(arrays["folders"], arrays["folder_ends"])
            left_out = Names(arrays["left_out"], arrays["left_out_ends"])
            times, counts = arrays["times"], arrays["left_out_counts"]
            numbers = (paths.ends, folders.ends, times, left_out.ends, counts)
            if any(a.ndim != 1 or a.dtype != np.int64 for a in numbers):
                return None
            known = dict(zip(folders, times.tolist(), strict=True))
            others = dict(zip(left_out, counts.tolist(), strict=True))
            return FileIndex(paths, known, left_out=others) if known and "" in known else None
    except Exception:
        return None
