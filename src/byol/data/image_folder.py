"""A folder of images, flat or nested. Sub-folders of the first level are the classes if all images are in them.

Folders that wrap all class folders are skipped.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import Labels, canonical, several_spellings
from byol.data.decode import EncodedImages, open_file, read_file
from byol.data.file_index import CONTAINERS, NO_ENDING, PHOTOS, SPECIAL, FileIndex, Names, index_files
from byol.errors import BrokenImageError, DataError

NO_CLASSES = ("annotations", "annotation", "imagesets", "labels", "meta", "metadata", "__macosx")
"""Lower-case names of folders that are often beside the images of a data set. Without images they are not classes."""
HEIC = (".heic", ".heif")
MOST_KINDS = 8
"""Largest number of kinds of left-out files in a message."""
SAMPLED_FILES = 1024
"""Largest number of files whose bytes enter a fingerprint."""
SAMPLED_BYTES = 2**26
"""Number of bytes that enter a fingerprint, over all these files."""


class ImageFolder(EncodedImages):
    """Images below `root` in the order of their paths. Raises DataError if there is none.

    Folders that cannot be read are left out and named in `unreadable`. `index`: the index of `root`, if it exists already.
    `classes`: names of known classes, which let a single folder count as a class.
    """

    labels: NDArray[np.int64] | None
    class_names: list[str] | None
    most_fingerprinted: int | None = SAMPLED_FILES

    def __init__(
        self,
        root: Path,
        cache: Path | None = None,
        index: FileIndex | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.root = root
        index = index or index_files(root, cache)
        self.paths: Names | Sequence[str] = index.paths
        self.unreadable = index.unreadable
        self.left_out = index.left_out
        if not self.paths:
            if counted := unread(index):
                raise DataError(f"{root} holds {counted}, which byol does not read. {advice(index)}")
            cause = "".join(f" {root / name} cannot be read ({why})." for name, why in self.unreadable.items())
            others = f" Left out: {counted}." if (counted := others_left_out(index.left_out)) else ""
            raise DataError(
                f"{root} holds no image (JPEG, PNG, WebP, TIFF or another format that Pillow reads), nor do its sub-folders.{others}{cause} Name a folder of images."
            )
        self.description = f"folder {root}"
        self.classes = find_classes(self.paths, index.folders, classes)
        labels = self.classes.labels
        self.labels = labels.codes if labels else None
        self.class_names = list(labels.names) if labels else None
        self.unlabelled = self.classes.unlabelled
        self.label_notes: Sequence[str] = [f"{root}: {note}" for note in self.classes.notes]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def file(self, index: int) -> Path:
        """Path of the image's file."""
        return self.root / self.paths[index]

    def content(self, index: int) -> bytes:
        return read_file(self.file(index))

    def stream(self, index: int) -> BinaryIO:
        return open_file(self.file(index))

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Size of each file in bytes; -1 if it is missing."""
        return [_size(self.root / self.paths[int(index)]) for index in indices]

    def stored(self, index: int) -> bytes:
        """The bytes of the file; of a large file, its start, middle and end."""
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
        """Size and times of the file, as text in bytes."""
        try:
            status = os.stat(os.path.join(self.root, self.paths[index]))
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error
        return repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


class ListedImages(ImageFolder):
    """Image files below `root` whose paths and labels are given as lists."""

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(
        self, root: Path, paths: list[str], labels: list[int] | None, class_names: list[str], description: str
    ) -> None:
        self.root = root
        self.paths = paths
        self.unreadable = {}
        self.classes = ClassFolders()
        self.left_out: dict[str, int] = {}
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description


def unread(index: FileIndex) -> str:
    """Counts of photos of kinds that are not read, as text: "1 .dng file and 2 .heic files"; empty if there are none."""
    return _counted({ending: count for ending, count in index.left_out.items() if ending in PHOTOS})


def advice(index: FileIndex) -> str:
    """Advice on how to make the unread photos readable."""
    if any(ending in HEIC for ending in index.left_out):
        return "Install pillow-heif for HEIC (pip install 'byol[heic]'); convert others to JPEG."
    return "Convert them to JPEG."


def others_left_out(left_out: Mapping[str, int]) -> str:
    """Counts of the other files that are not images, as text; empty if there are none."""
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


@dataclass(frozen=True)
class ClassFolders:
    """Class folders of a folder of images."""

    labels: Labels | None = None
    wrapping: str = ""
    """Relative path, with a slash, of the folder around the classes; empty if the classes are on the first level."""
    folders: tuple[str, ...] = ()
    """Names of the folders in `wrapping` that hold images."""
    inside: Mapping[str, set[str]] = field(default_factory=dict)
    """Names of the folders in each of `folders`."""
    unlabelled: str = ""
    """Reason why there are no labels; empty if there are."""
    notes: tuple[str, ...] = ()
    """Notes for the user on how the classes were found."""


def find_classes(paths: Names | Sequence[str], folders: Iterable[str], known: Sequence[str] = ()) -> ClassFolders:
    """Finds the classes: the folders of the first level, or of the first level below folders that hold all images.

    There are no labels if an image is outside of the class folders, or if only one folder holds images and its name is
    not among the `known` classes. `paths` and `folders` are relative to the root. A folder without images counts as a class,
    too, unless its name is one of `NO_CLASSES`.
    """
    wrapping, tops = "", _tops(paths, "")
    while len(tops) == 1 and not _is_known(tops, known) and (inner := _tops(paths, f"{wrapping}{next(iter(tops))}/")):
        wrapping, tops = f"{wrapping}{next(iter(tops))}/", inner
    below = [folder.removeprefix(wrapping) for folder in folders if folder.startswith(wrapping)]
    inside: dict[str, set[str]] = {top: set() for top in tops}
    for top, inner, *deeper in (folder.split("/") for folder in below if folder.count("/") > 1):
        if len(deeper) == 1 and top in inside:
            inside[top].add(inner)
    class_folders = ClassFolders(None, wrapping, tuple(tops), inside)
    counts = [end - start for start, end in tops.values()]
    if outside := len(paths) - sum(counts):
        stray = next(path for path in paths if "/" not in path.removeprefix(wrapping))
        where = (
            f"{outside} of its images are beside the class folders, such as {stray}"
            if tops
            else "it has no sub-folders"
        )
        return replace(class_folders, unlabelled=where)
    if len(tops) < 2 and not _is_known(tops, known):
        return replace(class_folders, unlabelled=f"of its folders only {next(iter(tops))} holds images")
    empty = [name for folder in below if (name := folder[:-1]) and "/" not in name and name not in tops]
    empty = sorted(name for name in empty if name.lower() not in NO_CLASSES)
    notes = [f"the classes are the folders in {wrapping}"] if wrapping else []
    notes += [f"the class folders without readable images are {', '.join(empty)}"] if empty else []
    notes += [note] if (note := several_spellings([*tops, *empty])) else []
    labels = Labels.of(np.repeat(np.arange(len(tops)), counts), [*tops, *empty])
    return replace(class_folders, labels=labels, notes=tuple(notes))


def _is_known(tops: Iterable[str], known: Sequence[str]) -> bool:
    return all(canonical(name) in known for name in tops)


def _tops(paths: Names | Sequence[str], wrapping: str) -> dict[str, tuple[int, int]]:
    """Range [start, end) in `paths` of the images of each folder in `wrapping`. Images directly in `wrapping` are in no range."""
    tops, start = dict[str, tuple[int, int]](), 0
    while start < len(paths):
        top, slash, _ = paths[start].removeprefix(wrapping).partition("/")
        end = (
            bisect_left(paths, f"{wrapping}{top}0", lo=start) if slash else start + 1
        )  # paths are sorted; "0" comes after "/"
        if slash:
            tops[top] = start, end
        start = end
    return tops
