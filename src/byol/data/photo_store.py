"""A store of shrunk photos: one file of pixels, which is mapped into memory, and its index.

Training and evaluation look at views of some 200 px. To decode a photo of 12 megapixels for each of them takes most of
the time, so photos are shrunk once and read from here afterwards.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.source import Image, ImageSource, Part
from byol.data.subset import Subset
from byol.errors import BrokenImageError
from byol.runtime.number_format import TOP

INDEX, PIXELS = "index.jsonl", "pixels-{}.u8"
"""Names of the two files of a store; the second has a random part, so that no index is read with the pixels of another."""
IMAGES, RULE, FILE = "images", "number format", "pixels"
"""First entry of the lines of an index that are about no image."""

Place = tuple[int, int, int, int]
"""(first byte, height, width, bytes per value) of an image in the file of pixels."""


def shrunk(pixels: Image, side: int) -> Image:
    """(H, W, C) pixels with a short side of `side` px, by antialiased bicubic resizing; smaller images stay as they are.

    The kernel is that of the views (a = -0.5).
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= side:
        return pixels
    size = (round(width * side / short), round(height * side / short))
    bicubic = PillowImage.Resampling.BICUBIC
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        image = PillowImage.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
        return np.array(image.resize(size, bicubic)).reshape(size[1], size[0], -1)
    bands = [
        np.asarray(PillowImage.fromarray(band.astype(np.float32)).resize(size, bicubic))
        for band in np.moveaxis(pixels, 2, 0)
    ]
    return np.stack(bands, axis=2).round().clip(0, TOP[pixels.dtype]).astype(pixels.dtype)


class PhotoStore:
    """Shrunk photos by key (`source.image_keys`) in `folder`.

    Both files only grow. An image enters the index after its pixels are on the disk, so that a killed process leaves whole
    images alone. Only one process may write at a time.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        self.folder, self.channels = folder, channels
        self.places: dict[bytes, Place] = {}
        """Place of the pixels by key."""
        self.broken: dict[bytes, str] = {}
        """Reason why an image cannot be decoded, by key."""
        self.about: dict[str, str] = {}
        """Description of the images, the name of the file of pixels, and the rule that deep grey values followed."""
        self.end = 0
        """Number of bytes of pixels that are in the index."""
        self._index_end = 0
        with contextlib.suppress(OSError):
            self._read((folder / INDEX).read_bytes())

    @property
    def file(self) -> Path:
        """The file of pixels."""
        return self.folder / self.about.get(FILE, "")

    def __contains__(self, key: bytes) -> bool:
        return key in self.places or key in self.broken

    def size(self, key: bytes) -> int:
        """Bytes of the pixels of an image; 0 if it is not in the store."""
        _, height, width, depth = self.places.get(key, (0, 0, 0, 1))
        return height * width * self.channels * depth

    def append(self, images: Sequence[tuple[bytes, Image | str]], about: dict[str, str]) -> None:
        """Adds images, or the reasons why they cannot be decoded, by key. Raises OSError if the disk refuses."""
        if not self.about:
            remove_store(self.folder)
            about = {FILE: PIXELS.format(secrets.token_hex(4)), **about}
        lines: list[list[Any]] = [[name, text] for name, text in about.items() if self.about.get(name) != text]
        places: dict[bytes, Place] = {}
        broken: dict[bytes, str] = {}
        end = self.end
        for key, image in images:
            if isinstance(image, str):
                broken[key] = image
                lines.append([key.hex(), image])
            else:
                places[key] = end, *image.shape[:2], image.itemsize
                lines.append([key.hex(), *places[key]])
                end += image.nbytes
        pixels = b"".join(image.tobytes() for _, image in images if not isinstance(image, str))
        _write_at(self.folder / (self.about | about)[FILE], self.end, pixels)
        index = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        _write_at(self.folder / INDEX, self._index_end, index)
        self.places |= places
        self.broken |= broken
        self.about |= about
        self.end, self._index_end = end, self._index_end + len(index)

    def clear(self) -> None:
        """Removes all images. A process that has mapped them keeps them."""
        remove_store(self.folder)
        self.__init__(self.folder, self.channels)

    def _read(self, content: bytes) -> None:
        content = content[: content.rfind(b"\n") + 1]
        for line in content.splitlines():
            try:
                name, *entry = json.loads(line)
                if name in (IMAGES, RULE, FILE):
                    self.about[name] = str(entry[0])
                elif len(entry) == 1:
                    self.broken[bytes.fromhex(name)] = str(entry[0])
                else:
                    first, height, width, depth = (max(0, int(number)) for number in (*entry, 1)[:4])
                    self.places[bytes.fromhex(name)] = first, height, width, depth
            except (ValueError, TypeError, IndexError):  # a damaged line: its image is shrunk again
                continue
        self.end = max((place[0] + self.size(key) for key, place in self.places.items()), default=0)
        self._index_end = len(content)
        if not self.file.is_file() or self.file.stat().st_size < self.end:  # pixels are lost: all are made again
            self.places, self.broken, self.about, self.end, self._index_end = {}, {}, {}, 0, 0


def _write_at(path: Path, start: int, content: bytes) -> None:
    """Writes `content` as the end of a file from byte `start`, in place of what a killed process or a full disk left there."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as stream:
        stream.truncate(start)
        stream.seek(start)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def remove_store(folder: Path) -> None:
    """Removes the files of a store."""
    for path in (folder / INDEX, *folder.glob(PIXELS.format("*"))):
        path.unlink(missing_ok=True)


def _mapped(file: Path) -> NDArray[np.uint8] | None:
    """All bytes of a file, read-only; None if it is gone or empty."""
    try:
        return np.memmap(file, np.uint8, "r").view(np.ndarray)
    except (OSError, ValueError):
        return None


class StoredPhotos(Subset):
    """The images of `source`, those with a short side above `side` px shrunk to it (`shrunk`).

    They are read from a store where it has them, and else decoded and shrunk: the pixels are the same. Whole source,
    names, labels and fingerprint are those of `source`.
    """

    in_every_pass = False
    """Whether images that are not in the store should be decoded in every pass, since decoding all takes too long."""

    def __init__(self, source: ImageSource, channels: int, side: int) -> None:
        super().__init__(source, np.arange(len(source)), source.description)
        self.num_channels, self.side = channels, side
        self.places = np.full((len(source), 4), -1, np.int64)
        """(N, 4) places in the store; -1 where an image is not there."""
        self.broken: dict[int, str] = {}
        """Reason by index of each image that was found broken when the store was made."""
        self._file = Path()
        self._pixels: NDArray[np.uint8] | None = None

    def read_from(self, store: PhotoStore, keys: Sequence[bytes]) -> None:
        """Reads the images from `store` from now on; `keys`: (N,) their keys."""
        for index, key in enumerate(keys):
            self.places[index] = store.places.get(key, (-1,) * 4)
            if key in store.broken:
                self.broken[index] = store.broken[key]
        self._file, self._pixels = store.file, _mapped(store.file)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pixels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _pixels=_mapped(state["_file"]))

    @property
    def is_complete(self) -> bool:
        """Whether every image is in the store, or known to be broken."""
        return self._pixels is not None and int((self.places[:, 0] >= 0).sum()) + len(self.broken) == len(self)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        index = int(index)
        if channels == self.num_channels:
            if index in self.broken:
                raise BrokenImageError(self.broken[index])
            first, height, width, depth = self.places[index].tolist()
            if first >= 0 and self._pixels is not None:
                content = self._pixels[first : first + height * width * channels * depth].copy()
                return content.view(f"u{depth}").reshape(height, width, channels)
        return shrunk(self.source.read(index, channels, self.side), self.side)


def is_stored(source: ImageSource) -> bool:
    """Whether all images of `source` are read from a store."""
    photos = stored_part(source)
    return photos is not None and photos.is_complete


def stored_part(source: ImageSource) -> StoredPhotos | None:
    """The StoredPhotos that `source` is, or is a part of; None if there is none."""
    while isinstance(source, Part):
        if isinstance(source, StoredPhotos):
            return source
        source = source.source
    return None
