"""Which folders or files of a data set are its training part and its test part."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from byol.data.card import read_card
from byol.data.file_index import CONTAINERS, EXTENSIONS
from byol.data.image_folder import NO_CLASSES
from byol.errors import DataError

Kind = Literal["train", "test", "validation"]
KINDS: dict[Kind, str] = {
    "train": "train|training|trn|trainval",
    "test": "test|testing|tst",
    "validation": "val|valid|validation|validate|dev|devel|eval|evaluation",
}
"""Lower-case names of a part. The test part is preferred to the validation part for testing."""
FILLER = (
    *("images", "image", "imgs", "img", "data", "dataset", "set", "photos", "pictures", "pics"),
    *("split", "splits", "folder", "of", "part", "shard", "batch", "files", "full"),
)
"""Words that tell nothing about a part."""
DATA = (*EXTENSIONS, *CONTAINERS, ".arrow", ".npy")
MAX_NAMES = 8
"""Names in a message."""
MAX_DEPTH = 8
"""Folders that are looked through, one in the other."""


@dataclass(frozen=True)
class Part:
    """One folder, or several files."""

    name: str
    kind: Kind
    paths: list[Path]

    def __str__(self) -> str:
        return str(self.paths[0]) + (f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else "")


@dataclass(frozen=True)
class Parts:
    """The parts of a data set; those for testing in the order of preference."""

    train: Part
    tests: list[Part]
    left_out: list[str]
    """Names of folders beside the parts that belong to none."""

    @property
    def all(self) -> list[Part]:
        return [self.train, *self.tests]


def find_parts(path: Path) -> Parts | None:
    """The training and test parts of a folder; None where there are not both.

    They are folders, parquet files or tar files, with names such as `train`, `Testing`, `seg_test`, `val-00000.parquet`. They
    lie in `path`, in the one folder that it holds, or in `data` below that; or a data set's card names them.
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
    return None


def unwrap(path: Path) -> Path:
    """The first folder below `path` that holds more than one folder, or images or other data."""
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
    """Files of many images."""
    has_data: bool = False
    """Whether there are such files, or images."""


def _list(place: Path) -> _Content:
    """What is in a folder, sorted; nothing where it cannot be read. Hidden entries are left out."""
    content = _Content()
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            ending = entry.name[entry.name.rfind(".") :].lower()
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if _is_folder(entry):
                content.folders.append(entry.name)
            elif ending in DATA:
                content.has_data = True
                content.containers += [entry.name] if ending in CONTAINERS else []
    return _Content(sorted(content.folders), sorted(content.containers), content.has_data)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def kind_of(name: str) -> tuple[Kind | None, str, tuple[str, ...]]:
    """(the part that a name tells of, by which word, the other words); where it tells of two parts, the first."""
    kind: Kind | None = None
    said, others = "", list[str]()
    for word in map(str.lower, re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+", name)):
        part: Kind | None = next(
            (part for part in KINDS if re.fullmatch(f"({KINDS[part]})(set|data|images|imgs)?", word)), None
        )
        if part and kind is None:
            kind, said = part, word
        elif word not in FILLER:
            others.append(word)
    return kind, said, tuple(others)


def _choose(entries: list[tuple[str, Path]]) -> Parts | None:
    """The parts among named folders or files; None where they are not clear.

    Names that differ in the part's word alone belong together; a plain `train` and `test` come first. Others are parts
    where each kind is there once, and (of folders) nothing else is.
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
    """The part that all names tell of; None where they tell of several, or one tells of none."""
    kinds: set[Kind | None] = {kind_of(name)[0] for name in names}
    return kinds.pop() if len(kinds) == 1 else None


def require_no_parts(names: Iterable[str], place: Path, suspicious: Iterable[str] = ()) -> None:
    """Raises DataError where folders or files look like parts of a data set, though they are not read as such.

    They do where all names tell of parts, and not of the same one, or where a name of those that are `suspicious` does:
    a folder of folders that is called `train` is hardly a class.
    """
    kinds = {name: kind_of(name)[0] for name in names}
    parts = sorted(name for name, kind in kinds.items() if kind)
    several = len(parts) == len(kinds) and len(set(kinds.values())) > 1
    if several or (len(kinds) > 1 and set(parts) & set(suspicious)):
        raise _unclear(place, kinds)


def require_no_inner_parts(folders: Mapping[str, Collection[str]], place: Path) -> None:
    """Raises DataError where some class folders hold parts for training and testing, and others do not.

    `folders`: names of the folders in each class folder.
    """
    kinds = {name: {kind_of(inner)[0] for inner in inside} for name, inside in folders.items()}
    parts = [name for name, found in kinds.items() if "train" in found and found & {"test", "validation"}]
    if 0 < len(parts) < len(folders):
        raise _unclear(place / sorted(parts)[0], folders[sorted(parts)[0]])


def _unclear(place: Path, names: Collection[str]) -> DataError:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return DataError(
        f"It is not clear which images in {place} are for training and which for testing: it holds "
        f"{', '.join(sorted(names)[:MAX_NAMES])}{more}. Name one with --data (and one with --test-data), or rename them to train and test."
    )


def require_one_part(files: Iterable[Path], place: Path) -> Kind | None:
    """The part that all files of many images in a folder belong to, if any. Raises DataError where some belong to a part and others do not."""
    names = [file.relative_to(place).with_suffix("").as_posix() for file in files]
    part = lone_part(names)
    require_no_parts(names, place, () if part else names)
    return part
