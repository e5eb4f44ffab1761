"""Lists of images: a text file with a name on each line (quoted as JSON if it begins with a quotation mark), or a CSV with the columns `file` and, for labels, `label`."""

import contextlib
import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol.data.classes import Labels
from byol.data.image_folder import ImageFolder
from byol.data.source import ImageSource, whole
from byol.errors import DataError

ENDINGS = (".txt", ".csv")
FILE, LABEL = "file", "label"
"""Columns of a CSV. Others are ignored; an empty label is none."""
MOST_NAMED = 3
"""Largest number of names in a message."""


@dataclass(frozen=True)
class ImageList:
    """Images of a source that a list names."""

    indices: list[int]
    """Index of each image in the source, in the order of the list, each once."""
    labels: Labels | None
    """The labels; None if the list has none."""


def is_list(path: Path) -> bool:
    """Whether a path names a list rather than images."""
    return path.suffix.lower() in ENDINGS and path.is_file()


def read_list(path: Path, source: ImageSource) -> ImageList:
    """The images of `source` that the list at `path` names, by their names in the source or by the paths of their files.

    Raises DataError if the list cannot be read, is empty, names an image that the source does not hold, or gives labels for some images only.
    """
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} names no image; write one name on each line, or a CSV with a column {FILE!r}.")
    index_of = {source.name(index): index for index in range(len(source))}
    if not all(name in index_of for name, _ in rows):
        index_of |= {place: index for index in range(len(source)) if (place := _real(image_path(source, index)))}
    found: dict[int, str] = {}
    missing: list[str] = []
    for name, label in rows:
        index = index_of.get(name, index_of.get(_real(Path(name))))
        if index is None:
            missing.append(name)
        else:
            found[index] = label
    if missing:
        named = ", ".join(missing[:MOST_NAMED]) + (", ..." if len(missing) > MOST_NAMED else "")
        raise DataError(
            f"{len(missing)} of the {len(rows)} names in {path} are no images of {source.description}: {named}. "
            f"Write names such as {source.name(0)}, or paths."
        )
    labels = [label for label in found.values() if label]
    if labels and len(labels) < len(found):
        raise DataError(
            f"{path} gives a label to {len(labels)} of its {len(found)} images; give one to each, or to none."
        )
    if not labels:
        return ImageList(list(found), None)
    names, codes = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    return ImageList(list(found), Labels.of(codes, names.tolist()))


def image_path(source: ImageSource, index: int) -> Path | None:
    """Path of an image's file, as relative as the source was named; None if the image is no file of its own."""
    inner, places = whole(source)
    return inner.root / inner.name(int(places[index])) if isinstance(inner, ImageFolder) else None


def shown_name(source: ImageSource, index: int) -> str:
    """Path of an image's file, or its name in the source if it is no file of its own."""
    return str(image_path(source, index) or source.name(index))


def _real(path: Path | None) -> str:
    """The path without links, from the root of the disk; empty if there is none."""
    return "" if path is None else os.path.realpath(path)


def _rows(path: Path) -> list[tuple[str, str]]:
    """(name, label) of each line; the label is empty if there is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    if path.suffix.lower() == ".txt":
        return [(_unquoted(line), "") for line in text.splitlines() if line.strip()]
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or ()
    if FILE not in columns:
        raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}; one must be called {FILE}.")
    return [(row[FILE], (row.get(LABEL) or "").strip()) for row in reader if row[FILE]]


def _unquoted(line: str) -> str:
    with contextlib.suppress(ValueError):
        return str(json.loads(line)) if line.startswith('"') else line
    return line
