"""A folder of images, flat or nested; labelled by its first level of sub-folders where all images lie in such.

Folders around all classes are looked through.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import Labels, canonical, several_spellings
from byol.data.decode import EncodedImages
from byol.data.file_index import EXTENSIONS, LEFT_OUT, FileIndex, Names, index_files
from byol.errors import BrokenImageError, DataError

NO_CLASSES = ("annotations", "annotation", "imagesets", "labels", "meta", "metadata", "__macosx")
"""Lower-case names of folders that data sets have beside their images; without images they are no classes."""
DEFAULT_CACHE = Path("~/.cache/byol/folders").expanduser()


class ImageFolder(EncodedImages):
    """Images below `root` in the order of their paths. Raises DataError where there is none.

    Folders that cannot be read are left out and named in `unreadable`. `found`: the index, where it was made already.
    """

    labels: NDArray[np.int64] | None
    class_names: list[str] | None

    def __init__(
        self,
        root: Path,
        cache: Path | None = DEFAULT_CACHE,
        found: FileIndex | None = None,
        classes: Sequence[str] = (),
    ) -> None:
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
        self.classes = find_classes(self.paths, found.folders, classes)
        labels = self.classes.labels
        self.labels = labels.codes if labels else None
        self.class_names = list(labels.names) if labels else None
        self.unlabelled, self.label_notes = self.classes.unlabelled, [f"{root}: {note}" for note in self.classes.notes]

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
        self.classes, self.unlabelled, self.label_notes = ClassFolders(), "", []
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description


def unread(found: FileIndex) -> str:
    """The images of kinds that are not read, counted: "1 .dng file and 2 .heic files"; empty where there are none."""
    kinds = sorted((ending, count) for ending, count in found.left_out.items() if ending in LEFT_OUT)
    return " and ".join(f"{count} {ending} file{'s' if count > 1 else ''}" for ending, count in kinds)


@dataclass(frozen=True)
class ClassFolders:
    """Which sub-folders are classes."""

    labels: Labels | None = None
    wrapping: str = ""
    """Relative path of the folder around the classes, with a slash; empty where they are of the first level."""
    folders: tuple[str, ...] = ()
    """Names of the folders there that hold images."""
    inside: Mapping[str, set[str]] = field(default_factory=dict)
    """Names of the folders in each of them."""
    unlabelled: str = ""
    """Why there are no labels."""
    notes: tuple[str, ...] = ()
    """What was decided, for the user."""


def find_classes(paths: Names | Sequence[str], folders: Iterable[str], known: Sequence[str] = ()) -> ClassFolders:
    """A class for each folder of the first level, or of the first level below folders that hold all images.

    There are no labels where an image lies outside of such, or one folder alone holds images and is none of the `known`
    classes. `paths` and `folders` are relative to the root; folders without images count as classes, too, unless their
    name tells of something else.
    """
    wrapping, tops = "", _tops(paths, "")
    while len(tops) == 1 and not _is_known(tops, known) and (inner := _tops(paths, f"{wrapping}{next(iter(tops))}/")):
        wrapping, tops = f"{wrapping}{next(iter(tops))}/", inner
    below = [folder.removeprefix(wrapping) for folder in folders if folder.startswith(wrapping)]
    inside: dict[str, set[str]] = {top: set() for top in tops}
    for top, inner, *deeper in (folder.split("/") for folder in below if folder.count("/") > 1):
        if len(deeper) == 1 and top in inside:
            inside[top].add(inner)
    found = ClassFolders(None, wrapping, tuple(tops), inside)
    counts = [end - start for start, end in tops.values()]
    if outside := len(paths) - sum(counts):
        stray = next(path for path in paths if "/" not in path.removeprefix(wrapping))
        where = (
            f"{outside} of its images lie beside the class folders, such as {stray}"
            if tops
            else "it has no sub-folders"
        )
        return replace(found, unlabelled=where)
    if len(tops) < 2 and not _is_known(tops, known):
        return replace(found, unlabelled=f"{next(iter(tops))} alone of its folders holds images")
    empty = [name for folder in below if (name := folder[:-1]) and "/" not in name and name not in tops]
    empty = sorted(name for name in empty if name.lower() not in NO_CLASSES)
    notes = [f"the classes are the folders in {wrapping}"] if wrapping else []
    notes += [f"no image that can be read is in the class folders {', '.join(empty)}"] if empty else []
    notes += [note] if (note := several_spellings([*tops, *empty])) else []
    labels = Labels.of(np.repeat(np.arange(len(tops)), counts), [*tops, *empty])
    return replace(found, labels=labels, notes=tuple(notes))


def _is_known(tops: Iterable[str], known: Sequence[str]) -> bool:
    return all(canonical(name) in known for name in tops)


def _tops(paths: Names | Sequence[str], wrapping: str) -> dict[str, tuple[int, int]]:
    """First and last place of the images of each folder in `wrapping`; those directly in it are in none."""
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
