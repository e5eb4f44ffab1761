"""Class labels: integer codes and the names that they index. The order of classes is the same for every kind of source."""

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
    """(N,) indices into `names`."""
    names: tuple[str, ...]
    """Classes in the order of `ordered`; some may have no image."""

    @classmethod
    def of(cls, numbers: NDArray[np.int64], names: Sequence[str]) -> "Labels":
        """Labels from (N,) indices into `names`, which may be in any order and in several spellings."""
        spelled = [canonical(name) for name in names]
        classes = ordered(spelled)
        place = {name: code for code, name in enumerate(classes)}
        return cls(np.asarray([place[name] for name in spelled], np.int64)[numbers], classes)

    @classmethod
    def joined(cls, parts: "Sequence[Labels]") -> "Labels":
        """Concatenated labels of all parts, over the union of their classes."""
        names = union([part.names for part in parts])
        return cls(np.concatenate([part.over(names) for part in parts]), names)

    def over(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(N,) indices into `names`; -1 for a class that is not among them."""
        mine, theirs = _keys([self.names, names])
        place = {key: code for code, key in enumerate(theirs)}
        return np.asarray([place.get(key, -1) for key in mine], np.int64)[self.codes]


def canonical(name: str) -> str:
    """A class name without surrounding spaces and with composed accents: disks and tables write the same name differently."""
    return unicodedata.normalize("NFC", name).strip()


def is_number(name: str) -> bool:
    """Whether a class name is a whole number."""
    return name.isascii() and name.isdecimal()


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names, sorted as text, or by number if all are whole numbers."""
    distinct = set(names)
    numeric = all(is_number(name) for name in distinct)
    return tuple(sorted(distinct, key=(lambda name: (int(name), name)) if numeric else None))


def union(sides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Union of the classes of all sides, in the first spelling. `01` and `1` are one class if all names are numbers."""
    spelling: dict[str | int, str] = {}
    for names, keys in zip(sides, _keys(sides), strict=True):
        for name, key in zip(names, keys, strict=True):
            spelling.setdefault(key, name)
    return ordered(spelling.values())


def _keys(sides: Sequence[Sequence[str]]) -> list[list[str | int]]:
    """A key per name that is equal for two names of one class: the number if all sides have distinct numbers, else the name."""
    if all(is_number(name) for names in sides for name in names):
        numbers = [[int(name) for name in names] for names in sides]
        if all(len(set(side)) == len(side) for side in numbers):
            return [list(side) for side in numbers]
    return [list(names) for names in sides]


def several_spellings(names: Iterable[str]) -> str:
    """A note on names that differ only in spaces or accents, and so are one class; empty if there are none."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(canonical(name), set()).add(name)
    groups = [sorted(group) for group in spellings.values() if len(group) > 1]
    return "; ".join(f"{' and '.join(map(repr, group))} are one class" for group in groups)


def labels_of(source: ImageSource) -> Labels | None:
    """The labels of a source. Classes without names get their numbers as names."""
    if source.labels is None:
        return None
    numbers = np.asarray(source.labels, np.int64)
    if source.class_names is not None:
        return Labels(numbers, tuple(source.class_names))
    classes, codes = np.unique(numbers, return_inverse=True)
    return Labels(codes.astype(np.int64), tuple(str(number) for number in classes.tolist()))


def relabel(source: ImageSource, names: tuple[str, ...]) -> None:
    """Numbers the labels of a source by `names`, which include all its classes."""
    if (labels := labels_of(source)) is not None:
        source.labels, source.class_names = labels.over(names), list(names)
