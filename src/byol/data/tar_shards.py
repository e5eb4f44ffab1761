"""Tar files of images, as WebDataset lays them out: `KEY.jpg` and, where there are labels, `KEY.cls` beside it.

The headers are read once; afterwards an image is read from its place in the tar, so that any order costs the same.
"""

import os
import tarfile
from pathlib import Path

import numpy as np

from byol.data.classes import Labels, several_spellings
from byol.data.decode import EncodedImages
from byol.data.file_index import EXTENSIONS
from byol.errors import BrokenImageError, DataError

MAX_LABEL_BYTES = 64


class TarImages(EncodedImages):
    """The images of one tar file, of several, or of all in a folder in the order of their names. Nothing is unpacked.

    Labels are integers or names in `.cls` files, where every image has one. Raises DataError where a tar cannot be
    read or no image is found.
    """

    def __init__(self, path: Path | list[Path], description: str = "") -> None:
        self.files = path if isinstance(path, list) else sorted(path.glob("[!.]*.tar")) if path.is_dir() else [path]
        self.description = description or f"tar {path}"
        names: list[str] = []
        places: list[tuple[int, int, int]] = []
        labels: list[str | None] = []
        for number, file in enumerate(self.files):
            _read_headers(file, number, names, places, labels)
        if not names:
            raise DataError(f"{self.description} holds no image ({', '.join(e[1:] for e in EXTENSIONS)}).")
        self.names = names
        self.places = np.asarray(places, np.int64)
        self.labels, self.class_names, self.label_notes = None, None, []
        self.unlabelled = (
            f"{(missing := labels.count(None))} of its {len(labels)} images have no class in a .cls file beside them"
        )
        if not missing:
            spelled, numbers = np.unique(np.asarray(labels), return_inverse=True)
            found = Labels.of(numbers.astype(np.int64), spelled.tolist())
            self.labels, self.class_names = found.codes, list(found.names)
            self.label_notes = [note] if (note := several_spellings(spelled.tolist())) else []

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return f"{self.files[self.places[index, 0]].name}/{self.names[index]}"

    def content(self, index: int) -> bytes:
        number, start, length = self.places[index].tolist()
        try:
            with self.files[number].open("rb") as stream:
                stream.seek(start)
                return stream.read(length)
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error


def _read_headers(
    file: Path, number: int, names: list[str], places: list[tuple[int, int, int]], labels: list[str | None]
) -> None:
    classes: dict[str, str] = {}
    first = len(names)
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                key, extension = os.path.splitext(member.name)
                if os.path.basename(key).startswith("."):  # macOS adds `._photo.jpg` to a photo.jpg
                    continue
                if member.isfile() and extension.lower() in EXTENSIONS:
                    names.append(member.name)
                    places.append((number, member.offset_data, member.size))
                elif member.isfile() and extension == ".cls" and member.size <= MAX_LABEL_BYTES:
                    content = tar.extractfile(member)
                    classes[key] = content.read().decode("utf-8", "replace").strip() if content else ""
            _require_end(file, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an uncompressed tar ({error}).") from error
    _leave_parts_out(names, places, first)
    labels.extend(classes.get(os.path.splitext(name)[0]) or None for name in names[first:])


def _require_end(file: Path, offset: int) -> None:
    """tarfile takes a header that it cannot read for the end, and nothing after the end's zeros for more. Raises ReadError."""
    with file.open("rb") as stream:
        stream.seek(offset)
        block = stream.read(tarfile.BLOCKSIZE)
        ends = not block.strip(b"\0")
        while block and not block.strip(b"\0"):
            block = stream.read(tarfile.BLOCKSIZE)
    if block and (not ends or _is_header(block)):  # other leavings of a writer behind the end do not matter
        raise tarfile.ReadError(f"damaged, or several in one, at byte {offset}; make it again, or cut it there")


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _leave_parts_out(names: list[str], places: list[tuple[int, int, int]], first: int) -> None:
    """Of `0001.jpg` and `0001.seg.png`, which WebDataset takes for parts of one sample, the first is the image."""
    whole = {key for key in (_key(name) for name in names[first:]) if key}
    kept = [i for i in range(first, len(names)) if _key(names[i]) or _sample(names[i]) not in whole]
    names[first:], places[first:] = [names[i] for i in kept], [places[i] for i in kept]


def _sample(name: str) -> str:
    """Up to the first dot of the file's own name."""
    folder, own = os.path.split(name)
    return f"{folder}/{own.partition('.')[0]}"


def _key(name: str) -> str:
    """The same where there is no further dot before the ending; else empty."""
    return _sample(name) if os.path.basename(name).count(".") == 1 else ""
