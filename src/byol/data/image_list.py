"""Lists of images: a text file with a name on each line (quoted as JSON if it begins with a quotation mark), or a table of files (`data.label_table`)."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from byol.data.classes import Labels
from byol.data.label_table import find_images, read_label_table
from byol.data.source import ImageSource
from byol.errors import DataError

ENDINGS = (".txt", ".csv")


@dataclass(frozen=True)
class ImageList:
    """Images of a source that a list names."""

    indices: list[int]
    """Index of each image in the source, in the order of the list."""
    labels: Labels | None
    """The classes of the images; None if the list has none, or several for an image."""


def is_list(path: Path) -> bool:
    """Whether a path names a list rather than images."""
    return path.suffix.lower() in ENDINGS and path.is_file()


def read_list(path: Path, source: ImageSource) -> ImageList:
    """The images of `source` that the list at `path` names, each once, by their names in the source or by the paths of their files.

    In a table with classes, rows without one are left out. Raises DataError if the list cannot be read, names no image, or one that
    the source does not hold.
    """
    if path.suffix.lower() != ".txt":
        table = read_label_table(path, labels_needed=False)
        if table.codes is not None:
            part, _ = table.of(source)
            return ImageList(part.indices.tolist(), Labels.of(table.codes, table.names))
        return ImageList(list(dict.fromkeys(find_images(table.files, source, path))), None)
    try:
        lines = path.read_bytes().decode("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    names = [_unquoted(line) for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path} names no image; write one name on each line.")
    return ImageList(list(dict.fromkeys(find_images(names, source, path))), None)


def _unquoted(line: str) -> str:
    with contextlib.suppress(ValueError):
        return str(json.loads(line)) if line.startswith('"') else line
    return line
