"""A folder of images, flat or nested; labelled by its first level of sub-folders where all images lie in such."""

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages, open_file, read_file
from byol.data.file_index import CONTAINERS, NO_ENDING, PHOTOS, SPECIAL, FileIndex, Names, index_files
from byol.errors import BrokenImageError, DataError

HEIC = (".heic", ".heif")
MOST_KINDS = 8
"""Kinds of left-out files that a message names."""
SAMPLED_FILES = 1024
"""Files of whose bytes a fingerprint takes some."""
SAMPLED_BYTES = 2**26
"""Bytes of all these files."""


class ImageFolder(EncodedImages):
    """Images below `root` in the order of their paths. Raises DataError where there is none.

    Folders that cannot be read are left out and named in `unreadable`. `found`: the index, where it was made already.
    """

    labels: NDArray[np.int64] | None
    class_names: list[str] | None
    most_fingerprinted: int | None = SAMPLED_FILES

    def __init__(self, root: Path, cache: Path | None = None, found: FileIndex | None = None) -> None:
        self.root = root
        found = found or index_files(root, cache)
        self.paths: Names | Sequence[str] = found.paths
        self.unreadable = found.unreadable
        self.left_out = found.left_out
        if not self.paths:
            if counted := unread(found):
                raise DataError(f"{root} holds {counted}, which byol does not read. {advice(found)}")
            cause = "".join(f" {root / name} cannot be read ({why})." for name, why in self.unreadable.items())
            others = f" Left out: {counted}." if (counted := others_left_out(found.left_out)) else ""
            raise DataError(
                f"{root} holds no image (JPEG, PNG, WebP, TIFF and what else Pillow reads), nor do its sub-folders.{others}{cause} Name a folder of images."
            )
        self.description = f"folder {root}"
        self.class_names, self.labels = _labels(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def content(self, index: int) -> bytes:
        return read_file(self.root / self.paths[index])

    def stream(self, index: int) -> BinaryIO:
        return open_file(self.root / self.paths[index])

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Bytes of the files; -1 where one is missing."""
        return [_size(self.root / self.paths[int(index)]) for index in indices]

    def stored(self, index: int) -> bytes:
        """The file, or parts of its start, middle and end."""
        with self.stream(index) as stream:
            size = os.fstat(stream.fileno()).st_size
            part = SAMPLED_BYTES // min(len(self), SAMPLED_FILES) // 3
            if size <= 3 * part:
                return stream.read()
            parts = []
            for start in (0, (size - part) // 2, size - part):
                stream.seek(start)
                parts.append(stream.read(part))
            return b"".join(parts)

    def stamp(self, index: int) -> bytes:
        """Size and times of the file."""
        try:
            status = os.stat(self.root / self.paths[index])
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error
        return repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


class ListedImages(ImageFolder):
    """Image files below `root`, listed with their labels by whoever knows the data set."""

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(
        self, root: Path, paths: list[str], labels: list[int] | None, class_names: list[str], description: str
    ) -> None:
        self.root = root
        self.paths = paths
        self.unreadable = {}
        self.left_out: dict[str, int] = {}
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description


def unread(found: FileIndex) -> str:
    """The photos of kinds that are not read, counted: "1 .dng file and 2 .heic files"; empty where there are none."""
    return _counted({ending: count for ending, count in found.left_out.items() if ending in PHOTOS})


def advice(found: FileIndex) -> str:
    """What makes unread photos readable."""
    if any(ending in HEIC for ending in found.left_out):
        return "Install pillow-heif for HEIC (pip install 'byol[heic]'); convert others to JPEG."
    return "Convert them to JPEG."


def others_left_out(left_out: Mapping[str, int]) -> str:
    """The other files that are no images, counted; empty where there are none."""
    return _counted({kind: count for kind, count in left_out.items() if count and kind not in (*PHOTOS, *CONTAINERS)})


def _counted(kinds: dict[str, int]) -> str:
    def words(kind: str) -> str:
        count, s = kinds[kind], "s" if kinds[kind] > 1 else ""
        if kind == NO_ENDING:
            return f"{count} file{s} without an ending"
        return f"{count} {kind}" if kind == SPECIAL else f"{count} {kind} file{s}"

    common = sorted(sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:MOST_KINDS])
    parts = [words(kind) for kind in common]
    if rest := sum(kinds.values()) - sum(kinds[kind] for kind in common):
        parts.append(f"{rest} of other kinds")
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def _labels(paths: Names | Sequence[str]) -> tuple[list[str] | None, NDArray[np.int64] | None]:
    """A class for each folder of the first level; none where an image lies outside of such, or there is but one."""
    numbers, names, start = np.empty(len(paths), np.int64), [], 0
    while start < len(paths):
        top, slash, _ = paths[start].partition("/")
        if not slash:
            return None, None
        end = bisect_left(paths, top + "0", lo=start)  # paths are sorted, and "0" comes after "/"
        numbers[start:end] = len(names)
        names.append(top)
        start = end
    return (names, numbers) if len(names) > 1 else (None, None)
