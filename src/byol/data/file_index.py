"""Which image files lie below a folder: names in one block of bytes, so that a million cost some 50 MB.

The order is that of the sorted paths, the same on every file system. A large index is kept in the cache folder with
the modification time of every folder it saw, and used again as long as none of these changed.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import extensions

PHOTOS = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Images that Pillow cannot read, or not everywhere."""
CONTAINERS = (".parquet", ".tar")
"""Files of many images. A folder of images leaves them out."""
HIDDEN, SPECIAL, NO_ENDING = "hidden", "pipe, socket or device", "no ending"
"""Kinds of left-out files beside endings."""
CACHED_FROM = 20_000
"""Files; smaller folders are looked through in no time."""
MOST_DEEP = 100
"""Folders within folders; deeper ones are not looked into."""
VERSION = b"2"
"""Version of the kept indices; those of another one are made again."""


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
    """How many files are no images, by ending, or HIDDEN, SPECIAL, NO_ENDING."""


def index_files(root: Path, cache: Path | None) -> FileIndex:
    """All image files below `root`, from the cache folder where nothing changed since. Hidden ones are left out.

    A folder that several paths lead to, by links, is read once: by its own path, or by the first link in sorted order.
    """
    key = hashlib.sha256(VERSION + os.fsencode(root.resolve())).hexdigest()[:32]
    kept = None if cache is None else cache / f"{key}.npz"
    if kept is not None and (known := _read(kept)) is not None and _is_current(root, known):
        return known
    found = _Walk(root).all()
    if kept is not None and len(found.paths) >= CACHED_FROM and not found.unreadable:
        _write(kept, found)
    return found


class _Walk:
    """One look through a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = FileIndex(Names.of(iter(())))
        self.left_out: Counter[str] = Counter()
        self.visited: set[tuple[int, int]] = set()
        """Device and inode of every folder looked at."""
        self.links: list[str] = []
        """Links to folders, which wait until all real folders are known."""

    def all(self) -> FileIndex:
        """Real folders, then those that links alone lead to."""
        self.index.paths = Names.of(self._below(""))
        linked: list[str] = []
        while self.links:
            waiting, self.links = sorted(self.links), []
            for link in waiting:
                linked += self._below(link)
        if linked:
            self.index.paths = Names.of(merge(self.index.paths, sorted(linked)))
        self.index.left_out = dict(self.left_out)
        return self.index

    def _below(self, top: str) -> Iterator[str]:
        """Depth first; a folder sorts as its name with a slash, which gives the order of the sorted paths."""
        stack = [iter(self._look(top))]
        while stack:
            path = next(stack[-1], None)
            if path is None:
                stack.pop()
            elif not path.endswith("/"):
                yield path
            elif path.count("/") > MOST_DEEP:
                self.index.unreadable[path] = f"more than {MOST_DEEP} folders deep, so it is not looked into"
            else:
                stack.append(iter(self._look(path)))

    def _look(self, folder: str) -> list[str]:
        """The sorted paths of images and, with a slash at the end, of folders in a folder not visited before."""
        inside: list[str] = []
        try:
            status = os.stat(self.root / folder)
            identity = (status.st_dev, status.st_ino)
            if identity in self.visited:
                return []
            self.visited.add(identity)
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    self._sort_in(entry, folder + entry.name, inside)
        except OSError as error:
            self.index.unreadable[folder or "."] = error.strerror or str(error)
            return []
        self.index.folders[folder] = status.st_mtime_ns
        return sorted(inside)

    def _sort_in(self, entry: "os.DirEntry[str]", path: str, inside: list[str]) -> None:
        """Adds the entry to `inside`, to the links, or to what is left out."""
        try:
            if entry.name.startswith("."):
                if not entry.is_dir(follow_symlinks=False):
                    self.left_out[HIDDEN] += 1
            elif entry.is_dir():
                (self.links if entry.is_symlink() else inside).append(path + "/")
            elif not entry.is_file() and not (entry.is_symlink() and not os.path.exists(entry.path)):
                self.left_out[SPECIAL] += 1
            elif (ending := os.path.splitext(entry.name)[1].lower()) in extensions():
                inside.append(path)
            else:
                self.left_out[ending or NO_ENDING] += 1
        except OSError as error:  # a link that leads nowhere one may go
            self.index.unreadable[path] = error.strerror or str(error)


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
