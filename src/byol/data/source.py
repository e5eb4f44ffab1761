"""What every kind of data is to the rest: N images by index, some with labels."""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from byol.errors import BrokenImageError

Image = NDArray[np.uint8]


class ImageSource(Protocol):
    """N images by index. Implementations can be pickled, so that worker processes can read them."""

    description: str
    """What it is and where it lies, for messages and records."""
    labels: NDArray[np.int64] | None
    """(N,) class numbers, or None."""
    class_names: list[str] | None
    """Name of each class number, where there are names."""

    def __len__(self) -> int: ...

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        """(H, W, channels) uint8. Raises BrokenImageError where the image cannot be decoded.

        With `short_side` it may be decoded smaller, with its short side at least so long (`data.decode`).
        """
        ...

    def name(self, index: int) -> str:
        """Where the image comes from, e.g. a path."""
        ...

    def channels(self, index: int) -> int:
        """Channels of the image as stored: 1 for grey, 3 for colour. Raises BrokenImageError."""
        ...


@runtime_checkable
class Stored(Protocol):
    """A source that can tell whether its images are others than before."""

    most_fingerprinted: int | None
    """Images whose bytes count; None: all."""

    def stored(self, index: int) -> bytes:
        """The bytes that hold the image, or those of a large file that stand for it. Raises BrokenImageError."""
        ...

    def stamp(self, index: int) -> bytes:
        """Bytes that change whenever the image does. Raises BrokenImageError."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A source that knows how many bytes hold an image."""

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Bytes of each image; -1 where it is missing."""
        ...


@runtime_checkable
class Part(Protocol):
    """A source of some images of another one, which stand at `indices` there (`data.subset`)."""

    source: ImageSource
    indices: NDArray[np.int64]


LUMA = np.array((19595, 38470, 7471))
"""Pillow's weights of red, green and blue in grey, in parts of 65536."""


def with_channels(pixels: Image, channels: int) -> Image:
    """(H, W, C) pixels as (H, W, channels): grey is repeated, colour becomes Pillow's grey. Else BrokenImageError."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 1:
        return np.repeat(pixels, channels, axis=2)
    if (found, channels) == (3, 1):
        return ((pixels @ LUMA + 0x8000) >> 16).astype(np.uint8)[..., None]
    raise BrokenImageError(f"it has {found} channels where {channels} were expected")


FINGERPRINTED_NAMES = 1000
FINGERPRINTED_SIZES = 2**16
"""Images whose sizes in bytes count."""
FINGERPRINTED_BYTES = 2**28
"""Bytes that count, where the source does not say how many images."""
VERSION = "2:"
"""Prefix of fingerprints of content. Earlier ones, of names alone, have none."""


def fingerprint(source: ImageSource) -> str:
    """18 characters that change with the number of images, their names, sizes and pixels.

    A random sample of the bytes counts where there are many, always the same one: some of each of a thousand files, the rows
    of arrays and tables up to 256 MB.
    """
    digest = hashlib.sha256(earlier_fingerprint(source).encode())
    order = np.random.default_rng(0).permutation(len(source))
    inner, places = whole(source)
    if isinstance(inner, Sized):
        digest.update(repr(inner.sizes(places[np.sort(order[:FINGERPRINTED_SIZES])])).encode())
    if isinstance(inner, Stored):
        left = FINGERPRINTED_BYTES
        for index in order[: inner.most_fingerprinted]:
            try:
                content = inner.stored(int(places[index]))
            except BrokenImageError as error:
                content = str(error).encode(errors="replace")
            digest.update(hashlib.sha256(content).digest())
            left -= len(content)
            if left < 0:
                break
    return VERSION + digest.hexdigest()[:16]


def earlier_fingerprint(source: ImageSource) -> str:
    """16 hexadecimal digits that change with the number of images and, of up to a thousand evenly spread, the names."""
    chosen = np.unique(np.linspace(0, len(source) - 1, FINGERPRINTED_NAMES).astype(int))
    names = [source.name(int(index)) for index in chosen]
    return hashlib.sha256("\n".join([str(len(source)), *names]).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def has_fingerprint(source: ImageSource, known: str) -> bool:
    """Whether `known`, of this version or an earlier one, is the source's; an empty one is everyone's."""
    return known in ("", fingerprint(source) if known.startswith(VERSION) else earlier_fingerprint(source))


def whole(source: ImageSource) -> tuple[ImageSource, NDArray[np.int64]]:
    """The source that `source` is a part of, and where in it each image stands."""
    places = np.arange(len(source))
    while isinstance(source, Part):
        source, places = source.source, source.indices[places]
    return source, places


@dataclass
class SkippedImages:
    """Images that could not be decoded: counted once each, with the reason."""

    images: dict[tuple[str, int | str], tuple[str, str]] = field(default_factory=dict)
    """(name, reason) by what is skipped: images may share a name, so the source's description and the place in it."""

    def add(self, source: ImageSource, index: int, reason: str) -> None:
        """An image; one of a part of a source is that of the whole."""
        name = source.name(index)
        while isinstance(source, Part):
            source, index = source.source, int(source.indices[index])
        self.images.setdefault((source.description, index), (name, reason))

    def add_folder(self, source: ImageSource, name: str, reason: str) -> None:
        """A folder that cannot be looked into."""
        self.images.setdefault((source.description, name), (name, reason))

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """(name, reason) of each."""
        return list(self.images.values())

    def __len__(self) -> int:
        return len(self.images)
