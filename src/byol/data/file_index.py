"""Index of the image files below a folder. Names are one block of bytes, so that a million of them take some 50 MB.

The index is in the order of the sorted paths, which is the same on every file system. A large index is kept in the cache
folder with the modification time of every indexed folder, and used again as long as none of these times changes.
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

from byol.data.array_files import ENDINGS as ARRAYS
from byol.data.decode import extensions

PHOTOS = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Endings of photos that Pillow cannot read, or not in every installation."""
CONTAINERS = (".parquet", ".tar")
"""Endings of files that hold many images. A folder of images leaves them out."""
HIDDEN, SPECIAL, NO_ENDING = "hidden", "pipe, socket or device", "no ending"
"""Kinds of left-out files that are not told by their ending."""
CACHED_FROM = 20_000
"""Smallest number of files for which the index is kept; smaller folders are read quickly."""
MOST_DEEP = 100
"""Largest depth of folders within folders; deeper ones are not read."""
VERSION = b"3"
"""Version of the kept indices. An index of another version is made again."""


class Names:
    """A list of strings, stored as two arrays: their bytes, and the end of each in these."""

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
    """Modification time in nanoseconds of every folder that was read, by relative path."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Reason by path of each folder that could not be read."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of files that are not images, by ending or HIDDEN, SPECIAL, NO_ENDING."""


def index_files(root: Path, cache: Path | None) -> FileIndex:
    """Indexes all image files below `root` that are not hidden; the index in the folder `cache` is used if it is up to date.

    Arrays (.npy, .npz) are images where there are no images of other kinds and no files of many; elsewhere they are left out.
    A folder with several paths, because of links, is read once: by its own path, or by the first link in sorted order.
    """
    key = hashlib.sha256(VERSION + os.fsencode(root.resolve())).hexdigest()[:32]
    cache_file = None if cache is None else cache / f"{key}.npz"
    if cache_file is not None and (known := _read(cache_file)) is not None and _is_current(root, known):
        return known
    index = _Walk(root).all()
    if cache_file is not None and len(index.paths) >= CACHED_FROM and not index.unreadable:
        _write(cache_file, index)
    return index


class _Walk:
    """One pass over a folder and everything below it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = FileIndex(Names.of(iter(())))
        self.left_out: Counter[str] = Counter()
        self.arrays: Counter[str] = Counter()
        """Number of arrays by ending."""
        self.visited: set[tuple[int, int]] = set()
        """Device and inode of every folder that was read."""
        self.links: list[str] = []
        """Links to folders. They are followed once all real folders are known."""

    def all(self) -> FileIndex:
        """Reads the real folders first, then those that only links lead to."""
        self.index.paths = Names.of(self._below(""))
        linked: list[str] = []
        while self.links:
            waiting, self.links = sorted(self.links), []
            for link in waiting:
                linked += self._below(link)
        if linked:
            self.index.paths = Names.of(merge(self.index.paths, sorted(linked)))
        if self.arrays and (self.arrays.total() < len(self.index.paths) or self.left_out.keys() & set(CONTAINERS)):
            self.index.paths = Names.of(path for path in self.index.paths if _ending(path) not in ARRAYS)
            self.left_out += self.arrays
        self.index.left_out = dict(self.left_out)
        return self.index

    def _below(self, top: str) -> Iterator[str]:
        """Paths of all images below a folder, depth first. A folder is sorted by its name with a slash, as sorted paths are."""
        stack = [iter(self._look(top))]
        while stack:
            path = next(stack[-1], None)
            if path is None:
                stack.pop()
            elif not path.endswith("/"):
                yield path
            elif path.count("/") > MOST_DEEP:
                self.index.unreadable[path] = f"more than {MOST_DEEP} folders deep, so it is not read"
            else:
                stack.append(iter(self._look(path)))

    def _look(self, folder: str) -> list[str]:
        """Sorted paths of the images and, with a slash at the end, of the folders in a folder; none if it was visited before."""
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
        """Adds the entry to `inside`, to the links, or to the counts of left-out files."""
        try:
            if entry.name.startswith("."):
                if not entry.is_dir(follow_symlinks=False):
                    self.left_out[HIDDEN] += 1
            elif entry.is_dir():
                (self.links if entry.is_symlink() else inside).append(path + "/")
            elif not entry.is_file() and not (entry.is_symlink() and not os.path.exists(entry.path)):
                self.left_out[SPECIAL] += 1
            elif (ending := _ending(entry.name)) in extensions():
                inside.append(path)
            elif ending in ARRAYS:
                inside.append(path)
                self.arrays[ending] += 1
            else:
                self.left_out[ending or NO_ENDING] += 1
        except OSError as error:  # such as a link to a folder without permission
            self.index.unreadable[path] = error.strerror or str(error)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_current(root: Path, known: FileIndex) -> bool:
    try:
        return all(os.stat(root / folder).st_mtime_ns == time for folder, time in known.folders.items())
    except OSError:
        return False


def _write(path: Path, index: FileIndex) -> None:
    """Keeps the index in a file. An error in writing is ignored, since the index is only a cache."""
    folders = Names.of(iter(index.folders))
    times = np.asarray(list(index.folders.values()), np.int64)
    left_out = Names.of(iter(index.left_out))
    counts = np.asarray(list(index.left_out.values()), np.int64)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            temporary,
            paths=index.paths.content,
            path_ends=index.paths.ends,
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
    """The kept index; None if there is no such file or it is damaged, so that the index is made again."""
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
