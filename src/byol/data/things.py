"""Things: the pictures of a data set that show one patient, place or object, found by their files or by a table."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from byol.data.label_table import column_of, places_of, read_rows
from byol.data.source import ImageSource, whole
from byol.data.table import PATH_COLUMNS, TableImages
from byol.data.tar_shards import TarImages
from byol.errors import DataError
from byol.runtime.paths import user_path
from byol.runtime.words import counted

SEPARATOR = "_"
"""Default separator of the rule prefix."""
CHOICES = "Choose another rule (folder, name, prefix:SEPARATOR, column:NAME), or leave --views.pairs out."


@dataclass(frozen=True)
class Things:
    """Pictures grouped by the thing that they show."""

    numbers: NDArray[np.int64]
    """(N,) number of each picture's thing, from 0 in the order of the pictures."""
    words: str
    """One sentence on what was taken."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with the thing of any picture."""
        return hashlib.sha256(self.numbers.tobytes()).hexdigest()[:16]

    def beside(self, batch_size: int) -> float:
        """Expected number of other pictures of an image's thing in its batch."""
        counts, total = np.bincount(self.numbers), len(self.numbers)
        return float((counts * (counts - 1)).sum()) / total * (batch_size - 1) / (total - 1)


def find_things(source: ImageSource, rule: str) -> Things | None:
    """The things of a source by a rule of `views.pairs`; None if the rule is empty.

    Raises DataError if all pictures are of one thing, if no two are, or if the names or the column that the rule needs are missing.
    """
    if not rule:
        return None
    keys, note = _by_column(source, rule) if rule.startswith("column:") else (_by_name(source, rule), "")
    places: dict[str | int, int] = {}
    numbered = (places.setdefault(index if key is None else key, len(places)) for index, key in enumerate(keys))
    numbers = np.fromiter(numbered, np.int64, len(source))
    counts = np.bincount(numbers)
    if len(counts) == 1:
        raise DataError(
            f"By --views.pairs {rule} all {len(source)} pictures of {source.description} are of one thing. {CHOICES}"
        )
    if counts.max() == 1:
        example = source.name(0)
        raise DataError(
            f"By --views.pairs {rule} no two pictures of {source.description} are of one thing (the first is {example}). {CHOICES}"
        )
    pair = [source.name(int(index)) for index in np.flatnonzero(numbers == np.argmax(counts > 1))[:2]]
    single = int((counts == 1).sum())
    words = f"pairs by {rule}: {counted(len(source), 'picture')} of {counted(len(counts), 'thing')}, such as {' and '.join(pair)}"
    words += f"; {counted(single, 'thing')} with one picture: two views of it" if single else ""
    return Things(numbers, words + note)


def _by_name(source: ImageSource, rule: str) -> list[str]:
    """The thing of each picture by its path. Raises DataError if the pictures have no names of files."""
    inner, indices = whole(source)
    names: Sequence[str] = inner.names if isinstance(inner, TarImages) else []
    paths = [os.path.splitext(names[place] if names else inner.name(int(place))) for place in indices]
    if not any(ending for _, ending in paths):
        raise DataError(
            f"{source.description} has no names of files, which --views.pairs {rule} needs. In a table name a column (column:NAME)."
        )
    kind, _, separator = rule.partition(":")
    if kind == "folder":
        return [os.path.dirname(path) for path, _ in paths]
    if kind == "name":
        return [os.path.basename(path) for path, _ in paths]
    return [_prefix(path, separator or SEPARATOR) for path, _ in paths]


def _prefix(path: str, separator: str) -> str:
    """The path up to the last separator in the name of the file; the path itself if there is nothing before it."""
    folder, name = os.path.split(path)
    return os.path.join(folder, name.rpartition(separator)[0] or name)


def _by_column(source: ImageSource, rule: str) -> tuple[list[str | None], str]:
    """(the thing of each picture, None without a value; a note on what has none) by the column of a table."""
    _, name, *table = rule.split(":", 2)
    if table:
        keys, note = _by_file(source, name, table[0])
    else:
        inner, indices = whole(source)
        if not isinstance(inner, TableImages):
            raise DataError(
                f"{source.description} is not a table, which --views.pairs {rule} needs. {rule}:TABLE.csv reads the column of a table of files."
            )
        values = inner.column(name)
        keys, note = [values[place] for place in indices], ""
    if missing := sum(key is None for key in keys):
        note = f"; {counted(missing, 'picture')} without a {name!r}, each a thing of its own{note}"
    return keys, note


def _by_file(source: ImageSource, name: str, table: str) -> tuple[list[str | None], str]:
    """The thing of each picture by a CSV file with a column of files, and a note. Raises DataError if it lacks a column, or gives a file two things."""
    path = user_path(table)
    header, rows = read_rows(path)
    file = column_of(header, PATH_COLUMNS)
    if file is None or name not in header:
        lacks = f"no column {name!r}" if file is not None else f"no column of files ({', '.join(PATH_COLUMNS)})"
        raise DataError(f"{path} (--views.pairs) has {lacks}; it has {', '.join(header)}.")
    keys: list[str | None] = [None] * len(source)
    places = places_of([row[file] for row in rows], source)
    for place, row in zip(places, rows, strict=True):
        thing = row[header.index(name)] or None
        if place >= 0 and keys[place] not in (None, thing):
            raise DataError(
                f"{path} gives {row[file]} two things, {keys[place]} and {thing}, in column {name!r}. Give one row per file."
            )
        if place >= 0:
            keys[place] = thing
    elsewhere = sum(place < 0 for place in places)
    return keys, f"; {counted(elsewhere, 'row')} of {path} name no picture here" if elsewhere else ""
