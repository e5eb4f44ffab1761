"""Labels of image files from a CSV file: one class per image, or several labels."""

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import Labels, canonical, ordered
from byol.data.source import ImageSource, paths_of
from byol.data.subset import Subset
from byol.data.table import LABEL_COLUMNS, PATH_COLUMNS
from byol.errors import DataError
from byol.runtime.paths import user_path
from byol.runtime.words import counted, shortened

SEPARATORS = re.compile("[;|]")
"""Characters between the labels of an image in one cell."""
DELIMITERS = ",\t;"
"""Characters between cells, by preference: the first one in the header counts."""
YES_OR_NO = {"1": 1, "0": -1, "": 0}
"""Cells of a table with a column per label; an empty one is unknown."""
MOST_NAMED = 3
"""Largest number of files named in a message."""


@dataclass(frozen=True)
class LabelTable:
    """The labels of files, in the order of the table; it may list files alone."""

    path: Path
    files: tuple[str, ...]
    names: tuple[str, ...]
    """Classes, in the order of `data.classes`."""
    codes: NDArray[np.int64] | None
    """(N,) class numbers; None if images have several labels or none."""
    sets: NDArray[np.int8] | None
    """(N, C) labels of 1, -1 and 0 (unknown) if images have several, else None."""

    def of(self, source: ImageSource) -> tuple[Subset, NDArray[np.int8] | None]:
        """(the images of `source` that the table names, with their classes; their (N, C) labels if they have several).

        Files are named as in the source, or by a path from here. Raises DataError if a file is not in the source.
        """
        rows, seen = find_images(self.files, source, self.path), dict[int, str]()
        for row, file in zip(rows, self.files, strict=True):
            if (other := seen.setdefault(row, file)) != file:
                raise DataError(f"{self.path} names one image twice, as {other} and as {file}. Give one row per file.")
        part = Subset(source, np.asarray(rows, np.int64), f"{source.description}, {len(rows)} labelled by {self.path}")
        part.labels, part.class_names = self.codes, list(self.names)
        return part, self.sets


def places_of(files: Sequence[str], source: ImageSource) -> list[int]:
    """Index in the source of each file, named as there or by a path from here; -1 for a file that the source does not have."""
    places = {source.name(index): index for index in range(len(source))}
    if not all(file in places for file in files):
        paths = enumerate(paths_of(source, range(len(source))))
        places = {os.path.realpath(file): index for index, file in paths if file is not None} | places
    return [places.get(file, places.get(os.path.realpath(user_path(file)), -1)) for file in files]


def find_images(files: Sequence[str], source: ImageSource, path: Path) -> list[int]:
    """Index in `source` of each file that the list at `path` names, as `places_of`. Raises DataError if a file is not in the source."""
    rows = places_of(files, source)
    missing = [file for file, row in zip(files, rows, strict=True) if row < 0]
    if missing and len(missing) == len(files):
        raise DataError(
            f"{path} names {counted(len(missing), 'file')}, such as {missing[0]}, and {source.description} has none of them. "
            f"Give the folder that the names are of with --data; there they are such as {source.name(0)}."
        )
    if missing:
        raise DataError(
            f"{path} names {counted(len(missing), 'file')} that {source.description} does not have: "
            f"{shortened(missing, MOST_NAMED)}. Correct the names, such as {source.name(0)}."
        )
    return rows


def read_label_table(path: str | Path, label_column: str = "", *, labels_needed: bool = True) -> LabelTable:
    """Reads a CSV file with a header. One column has files (`file`, `path`, `image` or another common name).

    A column `label` (or `label_column`) has one class per image, or several separated by `;` or `|`; rows without one are left
    out unless images have several. Without such a column every other column is a label with 1, 0 or nothing (unknown) per
    image, or ignored unless labels are needed. Raises DataError if the table cannot be read in this way.
    """
    path = user_path(path)
    header, rows = read_rows(path)
    file = column_of(header, ("file", *PATH_COLUMNS))
    if file is None:
        raise DataError(f"{path} has no column of files ({', '.join(PATH_COLUMNS)}); it has {', '.join(header)}.")
    if label_column and label_column not in header:
        raise DataError(f"{path} has no column {label_column!r} (--data.label-column); it has {', '.join(header)}.")
    label = header.index(label_column) if label_column else column_of(header, LABEL_COLUMNS)
    rows = rows if labels_needed else [row for row in rows if row[file]]  # an audit has some about the data
    files = [row[file] for row in rows]
    if label is None and labels_needed:
        return _one_column_each(path, header, rows, file)
    cells = [] if label is None else [row[label] for row in rows]
    if not any(cells) and not labels_needed:
        return LabelTable(path, tuple(dict.fromkeys(files)), (), None, None)
    if any(map(SEPARATORS.search, cells)):
        return _several(path, files, [list(filter(None, map(canonical, SEPARATORS.split(cell)))) for cell in cells])
    known = {}
    for name, cell in zip(files, map(canonical, cells), strict=True):
        if cell and known.setdefault(name, cell) != cell:
            raise DataError(
                f"{path} names {name} twice, as {known[name]} and as {cell}. Give one row per file; several labels are "
                f"separated by ; in one cell."
            )
    names = list(dict.fromkeys(known.values()))
    place = {name: code for code, name in enumerate(names)}
    labels = Labels.of(np.asarray([place[cell] for cell in known.values()], np.int64), names)
    return LabelTable(path, tuple(known), labels.names, labels.codes, None)


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """(header, rows as long as the header) of a CSV file. Raises DataError if it cannot be read, or has no rows."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        first = text.partition("\n")[0]
        delimiter = next((character for character in DELIMITERS if character in first), ",")
        header, *rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(map(str.strip, row))
        ]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or ("it is empty" if isinstance(error, ValueError) else str(error))
        raise DataError(f"The table {path} cannot be read ({reason}).") from error
    if not rows:
        raise DataError(f"{path} has a header ({', '.join(header)}) and no rows.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"Row {number} of {path} has {len(row)} cells where the header has {len(header)}.")
    return header, rows


def column_of(header: list[str], known: tuple[str, ...]) -> int | None:
    """Place of the first of the known names in a header, in any case; None if it has none of them."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in known if name in lower), None)


def _one_column_each(path: Path, header: list[str], rows: list[list[str]], file: int) -> LabelTable:
    """The labels of a table with a column for each."""
    columns = [number for number in range(len(header)) if number != file]
    for number in columns:
        if wrong := next((row[number] for row in rows if row[number] not in YES_OR_NO), None):
            raise DataError(
                f"{path} has no column `label`, so that each column would be a label with 0, 1 or nothing; its column "
                f"{header[number]!r} has {wrong!r}. --data.label-column names the column of classes."
            )
    names = ordered(canonical(header[number]) for number in columns)
    if len(names) < len(columns):
        raise DataError(f"{path} has two columns of one name.")
    places = [columns[[canonical(header[n]) for n in columns].index(name)] for name in names]
    sets = np.asarray([[YES_OR_NO[row[place]] for place in places] for row in rows], np.int8)
    return _once(path, [row[file] for row in rows], names, sets.reshape(len(rows), len(names)))


def _several(path: Path, files: list[str], cells: list[list[str]]) -> LabelTable:
    names = ordered(name for cell in cells for name in cell)
    sets = np.asarray([[1 if name in cell else -1 for name in names] for cell in cells], np.int8)
    return _once(path, files, names, sets)


def _once(path: Path, files: list[str], names: tuple[str, ...], sets: NDArray[np.int8]) -> LabelTable:
    """The table of images with several labels. Raises DataError if a file has two rows."""
    if len(set(files)) < len(files):
        doubled = next(file for file in files if files.count(file) > 1)
        raise DataError(f"{path} names {doubled} twice. Give one row per file.")
    return LabelTable(path, tuple(files), names, None, sets)
