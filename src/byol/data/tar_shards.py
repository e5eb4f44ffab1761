"""A source that reads tar files in WebDataset's layout: `KEY.jpg` and, for labels, `KEY.cls` beside it.

The headers are read once. Images are then read from their places in the tar, so that every order is equally fast.
"""

import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import Labels, several_spellings
from byol.data.decode import EncodedImages, extensions
from byol.data.file_index import HIDDEN, NO_ENDING
from byol.errors import BrokenImageError, DataError

MAX_LABEL_BYTES = 64
LABEL = ".cls"
LINK, MASK = "link", "further image of a sample (x.mask.png beside x.png)"
"""Kinds of left-out files that are not told by their ending."""


class TarImages(EncodedImages):
    """Images of one tar file, of several, or of all in a folder in the order of their names. Nothing is unpacked.

    Labels are integers or names in `.cls` files; there are none unless every image has one. Raises DataError if a tar
    cannot be read or holds no image.
    """

    def __init__(self, path: Path | list[Path], description: str = "") -> None:
        self.files = path if isinstance(path, list) else sorted(path.glob("[!.]*.tar")) if path.is_dir() else [path]
        self.description = description or f"tar {path}"
        names: list[str] = []
        places: list[tuple[int, int, int]] = []
        labels: list[str | None] = []
        self.left_out: Counter[str] = Counter()
        for number, file in enumerate(self.files):
            _read_headers(file, number, names, places, labels, self.left_out)
        if not names:
            raise DataError(
                f"{self.description} holds no image (JPEG, PNG, WebP, TIFF or another format that Pillow reads)."
            )
        self.names = names
        self.places = np.asarray(places, np.int64)
        self.labels, self.class_names = None, None
        self.unlabelled = (
            f"{(missing := labels.count(None))} of its {len(labels)} images have no class in a .cls file beside them"
        )
        if not missing:
            spelled, numbers = np.unique(np.asarray(labels), return_inverse=True)
            known_labels = Labels.of(numbers.astype(np.int64), spelled.tolist())
            self.labels, self.class_names = known_labels.codes, list(known_labels.names)
            self.label_notes: Sequence[str] = [note] if (note := several_spellings(spelled.tolist())) else []

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return f"{self.files[self.places[index, 0]].name}/{self.names[index]}"

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Size of each image in bytes."""
        return self.places[indices, 2].tolist()

    def content(self, index: int) -> bytes:
        number, start, length = self.places[index].tolist()
        try:
            with self.files[number].open("rb") as stream:
                stream.seek(start)
                return stream.read(length)
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error


def _read_headers(
    file: Path,
    number: int,
    names: list[str],
    places: list[tuple[int, int, int]],
    labels: list[str | None],
    left_out: Counter[str],
) -> None:
    classes: dict[str, str] = {}
    stored: dict[str, tuple[int, int]] = {}
    first = len(names)
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                key, extension = os.path.splitext(member.name)
                extension = extension.lower()
                if member.isfile():
                    stored[member.name] = (member.offset_data, member.size)
                elif not member.islnk() or member.linkname not in stored:
                    left_out[LINK] += member.islnk() or member.issym()
                    continue
                if os.path.basename(key).startswith("."):  # macOS adds `._photo.jpg` to a photo.jpg
                    left_out[HIDDEN] += 1
                elif extension in extensions():
                    names.append(member.name)
                    places.append((number, *stored[(member.isfile() and member.name) or member.linkname]))
                elif extension != LABEL:
                    left_out[extension or NO_ENDING] += 1
                elif member.size <= MAX_LABEL_BYTES:
                    content = tar.extractfile(member)
                    classes[key] = content.read().decode("utf-8", "replace").strip() if content else ""
            _require_end(file, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an uncompressed tar ({error}).") from error
    before = len(names)
    _leave_parts_out(names, places, first)
    left_out[MASK] += before - len(names)
    labels.extend(classes.get(os.path.splitext(name)[0]) or None for name in names[first:])


def _require_end(file: Path, offset: int) -> None:
    """Raises ReadError unless the tar ends at `offset`. tarfile stops silently at a damaged header or between joined tars."""
    with file.open("rb") as stream:
        stream.seek(offset)
        block = stream.read(tarfile.BLOCKSIZE)
        ends = not block.strip(b"\0")
        while block and not block.strip(b"\0"):
            block = stream.read(tarfile.BLOCKSIZE)
    if block and (not ends or _is_header(block)):  # other bytes behind the end are harmless
        raise tarfile.ReadError(
            f"it is damaged, or several tars are joined, at byte {offset}; make it again, or cut it there"
        )


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _leave_parts_out(names: list[str], places: list[tuple[int, int, int]], first: int) -> None:
    """Removes further images of a sample: WebDataset takes `0001.jpg` and `0001.seg.png` as one sample, whose image is the first."""
    whole = {key for key in (_key(name) for name in names[first:]) if key}
    indices = [i for i in range(first, len(names)) if _key(names[i]) or _sample(names[i]) not in whole]
    names[first:], places[first:] = [names[i] for i in indices], [places[i] for i in indices]


def _sample(name: str) -> str:
    """Key of the sample that a file belongs to: its path up to the first dot of the file name."""
    folder, own = os.path.split(name)
    return f"{folder}/{own.partition('.')[0]}"


def _key(name: str) -> str:
    """Key of a file whose name has no further dot before the ending; empty for other files."""
    return _sample(name) if os.path.basename(name).count(".") == 1 else ""
