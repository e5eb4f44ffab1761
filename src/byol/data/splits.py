"""Training and test parts of a data set, found by the names of its folders or files."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from byol.data.array_files import ENDINGS as ARRAYS
from byol.data.card import read_card
from byol.data.decode import extensions
from byol.data.file_index import CONTAINERS
from byol.data.image_folder import NO_CLASSES
from byol.errors import DataError

Kind = Literal["train", "test", "validation"]
KINDS: dict[Kind, str] = {
    "train": "train|training|trn|trainval",
    "test": "test|testing|tst",
    "validation": "val|valid|validation|validate|dev|devel|eval|evaluation",
}
"""Lower-case names of each part, as a regular expression. The test part is preferred to the validation part for testing."""
FILLER = (
    *("images", "image", "imgs", "img", "data", "dataset", "set", "photos", "pictures", "pics"),
    *("split", "splits", "folder", "of", "part", "shard", "batch", "files", "full"),
)
"""Words in names that say nothing about a part."""
CONTAINERS_AND_ARRAYS = (*CONTAINERS, ".arrow", *ARRAYS)
MAX_NAMES = 8
"""Largest number of names in a message."""
MAX_DEPTH = 8
"""Largest depth of nested folders that are searched for parts."""


@dataclass(frozen=True)
class Part:
    """A part of a data set: one folder, several files, or one folder in each class folder."""

    name: str
    kind: Kind
    paths: list[Path]

    @property
    def is_by_class(self) -> bool:
        """Whether the part is one folder in each class folder."""
        return len(self.paths) > 1 and self.paths[0].is_dir()

    def __str__(self) -> str:
        if self.is_by_class:
            return f"{self.name} in each of {len(self.paths)} class folders of {self.paths[0].parent.parent}"
        return str(self.paths[0]) + (f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else "")


@dataclass(frozen=True)
class Parts:
    """The parts of a data set, with the test parts in the order of preference."""

    train: Part
    tests: list[Part]
    left_out: list[str]
    """Names of folders or files beside the parts that belong to no part."""

    @property
    def all(self) -> list[Part]:
        return [self.train, *self.tests]

    @property
    def kinds(self) -> list[Kind]:
        return [part.kind for part in self.all]


def find_parts(path: Path) -> Parts | None:
    """The training and test parts of a folder; None unless there are both.

    Parts are folders, parquet files or tar files with names such as `train`, `Testing`, `seg_test`, `val-00000.parquet`. They
    are in `path`, in the only folder in it, or in `data` below that; or every class folder has them; or a data set's card
    names them.
    """
    inner = unwrap(path)
    for folder in dict.fromkeys((path, inner)):
        if parts := _choose(read_card(folder)):
            return parts
    for place in (inner, inner / "data"):
        content = _list(place)
        parts = _choose([(name, place / name) for name in content.folders])
        for suffix in CONTAINERS:
            files = [name for name in content.containers if name.endswith(suffix)]
            parts = parts or _choose([(name.removesuffix(suffix), place / name) for name in files])
        if parts:
            return parts
    return _parts_by_class(inner)


def _parts_by_class(place: Path) -> Parts | None:
    """Parts in every class folder: `cat/train`, `cat/test`, `dog/train`, `dog/test`. None unless all class folders have the same."""
    content = _list(place)
    classes = [place / name for name in content.folders if name.lower() not in NO_CLASSES]
    if content.has_data or len(classes) < 2:
        return None
    parts_by_class: list[Parts] = []
    for folder in classes:  # up to the first without parts: folders of many images take long to list
        inner = _list(folder)
        parts = None if inner.has_data else _choose([(name, folder / name) for name in inner.folders])
        if parts is None or (parts_by_class and parts.kinds != parts_by_class[0].kinds):
            return None
        parts_by_class.append(parts)
    joined = [
        replace(same[0], paths=[path for part in same for path in part.paths])
        for same in zip(*(parts.all for parts in parts_by_class), strict=True)
    ]
    return Parts(joined[0], joined[1:], sorted({name for parts in parts_by_class for name in parts.left_out}))


def unwrap(path: Path) -> Path:
    """The first folder, from `path` downwards, that holds more than one folder, or images or other data."""
    for _ in range(MAX_DEPTH):
        content = _list(path)
        folders = [name for name in content.folders if name.lower() not in NO_CLASSES] or content.folders
        if len(folders) != 1 or content.has_data:
            break
        path = path / folders[0]
    return path


@dataclass
class _Content:
    folders: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    """Names of files that hold many images."""
    has_data: bool = False
    """Whether the folder holds such files, or images."""


def _list(place: Path) -> _Content:
    """The sorted content of a folder without hidden entries; empty if the folder cannot be read."""
    content = _Content()
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            ending = entry.name[entry.name.rfind(".") :].lower()
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if _is_folder(entry):
                content.folders.append(entry.name)
            elif ending in CONTAINERS_AND_ARRAYS or ending in extensions():
                content.has_data = True
                content.containers += [entry.name] if ending in CONTAINERS else []
    return _Content(sorted(content.folders), sorted(content.containers), content.has_data)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def kind_of(name: str) -> tuple[Kind | None, str, tuple[str, ...]]:
    """(part that a name stands for, the word that says so, the other words). The first word counts if two name a part."""
    kind: Kind | None = None
    part_word, others = "", list[str]()
    for word in map(str.lower, re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+", name)):
        part: Kind | None = next(
            (part for part in KINDS if re.fullmatch(f"({KINDS[part]})(set|data|images|imgs)?", word)), None
        )
        if part and kind is None:
            kind, part_word = part, word
        elif word not in FILLER:
            others.append(word)
    return kind, part_word, tuple(others)


def _choose(entries: list[tuple[str, Path]]) -> Parts | None:
    """The parts among (name, path) folders or files; None if they are not clear.

    Names that differ only in the word of the part belong together; a plain `train` and `test` come first. Other names are
    parts if each kind occurs once and, for folders, if there is nothing else.
    """
    groups: dict[tuple[Kind, tuple[str, ...]], Part] = {}
    words: dict[tuple[Kind, tuple[str, ...]], str] = {}
    others = []
    for name, path in entries:
        kind, word, rest = kind_of(name)
        if kind is None or words.setdefault((kind, rest), word) != word:
            others.append(name)
        else:
            groups.setdefault((kind, rest), Part(name, kind, [])).paths.append(path)
    files = all(path.is_file() for _, path in entries)
    tails = {rest for kind, rest in groups if kind != "train"} & {rest for kind, rest in groups if kind == "train"}
    if () in tails or len(tails) == 1:
        rest = () if () in tails else next(iter(tails))
        parts = [groups[kind, rest] for kind in KINDS if (kind, rest) in groups]
    else:
        parts = sorted(groups.values(), key=lambda part: list(KINDS).index(part.kind))
        if len({part.kind for part in parts}) < len(parts) or (others and not files):
            return None
    if (
        len(parts) < 2
        or parts[0].kind != "train"
        or any(len(part.paths) > 1 and part.paths[0].is_dir() for part in parts)
    ):
        return None
    left_out = [part.name for part in groups.values() if part not in parts] + others
    return Parts(parts[0], parts[1:], left_out)


def lone_part(names: Iterable[str]) -> Kind | None:
    """The part that all names stand for; None if they stand for several, or if one stands for no part."""
    kinds: set[Kind | None] = {kind_of(name)[0] for name in names}
    return kinds.pop() if len(kinds) == 1 else None


def require_no_parts(names: Iterable[str], place: Path, suspicious: Iterable[str] = ()) -> None:
    """Raises DataError if folders or files look like parts of a data set, though they are not read as such.

    They look like parts if all names stand for parts, and not for the same one, or if a `suspicious` name stands for a part:
    a folder of folders called `train` is hardly a class.
    """
    kinds = {name: kind_of(name)[0] for name in names}
    parts = sorted(name for name, kind in kinds.items() if kind)
    several = len(parts) == len(kinds) and len(set(kinds.values())) > 1
    if several or (len(kinds) > 1 and set(parts) & set(suspicious)):
        raise _unclear(place, kinds)


def require_no_inner_parts(folders: Mapping[str, Collection[str]], place: Path) -> None:
    """Raises DataError if a class folder holds parts for training and testing, though the data is not read by them.

    `folders`: names of the inner folders by class folder.
    """
    kinds = {name: {kind_of(inner)[0] for inner in inside} for name, inside in folders.items()}
    parts = [
        name for name, inner_kinds in kinds.items() if "train" in inner_kinds and inner_kinds & {"test", "validation"}
    ]
    if parts:
        first = sorted(parts)[0]
        names = ", ".join(sorted(folders[first])[:MAX_NAMES])
        raise DataError(
            f"It is not clear which images in {place / first} are for training and which for testing: it holds {names}, "
            f"but not every folder in {place} holds these and no images beside them. Give all class folders the same parts."
        )


def _unclear(place: Path, names: Collection[str]) -> DataError:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return DataError(
        f"It is not clear which images in {place} are for training and which for testing: it holds "
        f"{', '.join(sorted(names)[:MAX_NAMES])}{more}. Name one with --data (and one with --test-data), or rename them to train and test."
    )


def require_one_part(files: Iterable[Path], place: Path) -> Kind | None:
    """The part that all files belong to, if any. Raises DataError if some files belong to a part and others do not."""
    names = [file.relative_to(place).with_suffix("").as_posix() for file in files]
    part = lone_part(names)
    require_no_parts(names, place, () if part else names)
    return part
