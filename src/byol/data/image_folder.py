"""A folder of images, flat or nested; labelled by its first level of sub-folders where all images lie in such."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages
from byol.data.file_index import EXTENSIONS, LEFT_OUT, FileIndex, Names, index_files
from byol.errors import BrokenImageError, DataError

DEFAULT_CACHE = Path("~/.cache/byol/folders").expanduser()


class ImageFolder(EncodedImages):
    """Images below `root` in the order of their paths. Raises DataError where there is none.

    Folders that cannot be read are left out and named in `unreadable`. `found`: the index, where it was made already.
    """

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(self, root: Path, cache: Path | None = DEFAULT_CACHE, found: FileIndex | None = None) -> None:
        self.root = root
        found = found or index_files(root, cache)
        self.paths: Names | Sequence[str] = found.paths
        self.unreadable = found.unreadable
        if not self.paths:
            if counted := unread(found):
                raise DataError(f"{root} holds {counted}, which byol does not read. Convert them to JPEG.")
            cause = "".join(f" {root / name} cannot be read ({why})." for name, why in self.unreadable.items())
            raise DataError(
                f"{root} holds no image ({', '.join(e[1:] for e in EXTENSIONS)}), nor do its sub-folders.{cause} Name a folder of images."
            )
        self.description = f"folder {root}"
        self.class_names, self.labels = _labels(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def content(self, index: int) -> bytes:
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error


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
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description


def unread(found: FileIndex) -> str:
    """The images of kinds that are not read, counted: "1 .dng file and 2 .heic files"; empty where there are none."""
    kinds = sorted((ending, count) for ending, count in found.left_out.items() if ending in LEFT_OUT)
    return " and ".join(f"{count} {ending} file{'s' if count > 1 else ''}" for ending, count in kinds)


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
