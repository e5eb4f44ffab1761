"""Classes: integer codes, and the names that they index, in one order whatever holds the images."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from byol.data.source import ImageSource


@dataclass(frozen=True)
class Labels:
    """The class of each of N images."""

    codes: NDArray[np.int64]
    """(N,) places in `names`."""
    names: tuple[str, ...]
    """Classes in the order of `ordered`; some may have no image."""

    @classmethod
    def of(cls, numbers: NDArray[np.int64], names: Sequence[str]) -> "Labels":
        """Labels from (N,) places in `names`, which may come in any order and in several spellings."""
        spelled = [canonical(name) for name in names]
        classes = ordered(spelled)
        place = {name: code for code, name in enumerate(classes)}
        return cls(np.asarray([place[name] for name in spelled], np.int64)[numbers], classes)

    @classmethod
    def joined(cls, parts: "Sequence[Labels]") -> "Labels":
        """The labels of all parts in turn, over the classes of all."""
        names = union([part.names for part in parts])
        return cls(np.concatenate([part.over(names) for part in parts]), names)

    def over(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(N,) codes for the classes `names`; -1 for a class that is not among them."""
        mine, theirs = _keys([self.names, names])
        place = {key: code for code, key in enumerate(theirs)}
        return np.asarray([place.get(key, -1) for key in mine], np.int64)[self.codes]


def canonical(name: str) -> str:
    """A class name without spaces around it, its accents composed: disks and tables write the same name differently."""
    return unicodedata.normalize("NFC", name).strip()


def is_number(name: str) -> bool:
    """Whether a class name is a whole number."""
    return name.isascii() and name.isdecimal()


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names once each, sorted as text; by number where all are whole numbers."""
    distinct = set(names)
    numeric = all(is_number(name) for name in distinct)
    return tuple(sorted(distinct, key=(lambda name: (int(name), name)) if numeric else None))


def union(sides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The classes of all sides; `01` and `1` are one where all names are numbers. The first spelling stays."""
    spelling: dict[str | int, str] = {}
    for names, keys in zip(sides, _keys(sides), strict=True):
        for name, key in zip(names, keys, strict=True):
            spelling.setdefault(key, name)
    return ordered(spelling.values())


def _keys(sides: Sequence[Sequence[str]]) -> list[list[str | int]]:
    """What two names of one class share: the number where all sides have numbers, each once; else the name."""
    if all(is_number(name) for names in sides for name in names):
        numbers = [[int(name) for name in names] for names in sides]
        if all(len(set(side)) == len(side) for side in numbers):
            return [list(side) for side in numbers]
    return [list(names) for names in sides]


def several_spellings(names: Iterable[str]) -> str:
    """A note on names that differ in spaces or accents alone, and are one class; empty where there are none."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(canonical(name), set()).add(name)
    found = [sorted(group) for group in spellings.values() if len(group) > 1]
    return "; ".join(f"{' and '.join(map(repr, group))} are one class" for group in found)


def labels_of(source: ImageSource) -> Labels | None:
    """The labels of a source; classes without names are called by their numbers."""
    if source.labels is None:
        return None
    numbers = np.asarray(source.labels, np.int64)
    if source.class_names is not None:
        return Labels(numbers, tuple(source.class_names))
    classes, codes = np.unique(numbers, return_inverse=True)
    return Labels(codes.astype(np.int64), tuple(str(number) for number in classes.tolist()))


def relabel(source: ImageSource, names: tuple[str, ...]) -> None:
    """Gives the labels of a source over the classes `names`, which hold its own."""
    if (labels := labels_of(source)) is not None:
        source.labels, source.class_names = labels.over(names), list(names)
