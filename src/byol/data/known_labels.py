"""Labels that a user gave to pictures, known by their content: kept in a CSV file, and found again under other names and in other folders."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages
from byol.data.label_table import YES_OR_NO, read_rows
from byol.data.source import ImageSource, Sized, Stored, whole
from byol.errors import BrokenImageError, DataError
from byol.runtime.files import write_atomically
from byol.runtime.listener import SILENT, Listener

COLUMNS = ("file", "bytes", "digest")
"""Columns before that of the labels."""
CELLS = {label: cell for cell, label in YES_OR_NO.items()}


@dataclass(frozen=True)
class KnownLabels:
    """Labels of M pictures by their content."""

    files: Sequence[str]
    """Name of each picture in its folder, for people."""
    sizes: NDArray[np.int64]
    """(M,) bytes of each picture's file; -1 where they are unknown."""
    digests: Sequence[str]
    """Digest of the content of each picture; empty where there is none."""
    targets: NDArray[np.int64]
    """(M,) class numbers, or (M, C) labels of 1, -1 (no) and 0 (unknown)."""

    @staticmethod
    def of(images: ImageSource, targets: NDArray[np.int64], listener: Listener = SILENT) -> "KnownLabels":
        """The labels of all images of a source."""
        (inner, places), indices, digests = whole(images), list(range(len(images))), []
        for place in places.tolist():
            digests.append(_digest(inner, place))
            listener.work("noting the labels", len(digests), len(indices))
        return KnownLabels([images.name(index) for index in indices], _sizes(images, indices), digests, targets)

    def contradictory(self) -> list[str]:
        """First file of each content that several files with different labels have."""
        return [self.files[self.digests.index(digest)] for digest, row in self._rows().items() if row is None]

    def of_images(self, images: ImageSource, indices: Sequence[int], listener: Listener = SILENT) -> NDArray[np.int64]:
        """(N,) row of each image of `images`; -1 where its content is not known, or has several labels. Files of other sizes are not read."""
        rows, known, (inner, places) = self._rows(), set(self.sizes.tolist()), whole(images)
        sizes, found = _sizes(images, indices).tolist(), np.full(len(indices), -1, np.int64)
        read = [number for number, size in enumerate(sizes) if size in known or -1 in known or size < 0]
        for done, number in enumerate(read, start=1):
            row = rows.get(_digest(inner, int(places[indices[number]])))
            found[number] = -1 if row is None else row
            listener.work("comparing files with the labelled ones", done, len(read))
        return found

    def _rows(self) -> dict[str, int | None]:
        """Row of each digest; None where its rows differ."""
        rows: dict[str, int | None] = {}
        for row, digest in enumerate(self.digests):
            other = rows.setdefault(digest, row)
            if other is not None and not np.array_equal(self.targets[other], self.targets[row]):
                rows[digest] = None
        rows.pop("", None)
        return rows


def write_known(path: Path, known: KnownLabels, classes: Sequence[str]) -> None:
    """Writes the labels: columns file, bytes, digest, and label or, with several labels, one for each class with 1, 0 or nothing."""
    stream, several = io.StringIO(), known.targets.ndim == 2
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *(classes if several else ["label"])])
    for file, size, digest, target in zip(
        known.files, known.sizes.tolist(), known.digests, known.targets.tolist(), strict=True
    ):
        writer.writerow([file, size, digest, *([CELLS[label] for label in target] if several else [classes[target]])])
    write_atomically(path, stream.getvalue().encode("utf-8", "surrogateescape"))


def read_known(path: Path, classes: Sequence[str], *, several: bool) -> KnownLabels:
    """The labels that `write_known` wrote. Raises DataError if the file is missing or damaged."""
    header, rows = read_rows(path)
    labels, number = list(classes) if several else ["label"], {name: code for code, name in enumerate(classes)}
    if header != [*COLUMNS, *labels]:
        raise DataError(f"its columns are {', '.join(header)}, not {', '.join([*COLUMNS, *labels])}.")
    try:
        given = [[YES_OR_NO[cell] for cell in row[3:]] if several else number[row[3]] for row in rows]
        sizes = np.asarray([int(row[1]) for row in rows], np.int64)
    except (KeyError, ValueError) as error:
        raise DataError(f"it holds {error}.") from error
    return KnownLabels([row[0] for row in rows], sizes, [row[2] for row in rows], np.asarray(given, np.int64))


def _sizes(images: ImageSource, indices: Sequence[int]) -> NDArray[np.int64]:
    """Bytes of the file of each image; -1 where they are unknown."""
    inner, places = whole(images)
    known = isinstance(inner, Sized)
    return np.asarray(inner.sizes(places[list(indices)]) if known else [-1] * len(indices), np.int64)


def _digest(images: ImageSource, index: int) -> str:
    """Hexadecimal digits that an image of a whole source shares with its copies alone; empty if it has no content that stays, or cannot be read."""
    page = 0
    try:
        if isinstance(images, EncodedImages):
            content, page = images.content(index), images.page(index)
        else:
            content = images.stored(index) if isinstance(images, Stored) else b""
    except BrokenImageError:
        return ""
    return blake2b(content, digest_size=16, salt=page.to_bytes(16, "little")).hexdigest() if content else ""
