"""The interface of all kinds of data: N images by index, with or without labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from byol.errors import BrokenImageError, DataError

Image = NDArray[np.uint8 | np.uint16]
"""Pixels: bytes, or 16-bit integers where the stored values have more than 8 bits."""


class ImageSource(Protocol):
    """N images by index. Implementations can be pickled, so that worker processes can read them."""

    description: str
    """Kind and place of the images, for messages and records."""
    labels: NDArray[np.int64] | None
    """(N,) class numbers, or None."""
    class_names: list[str] | None
    """Name by class number, or None if the classes have no names."""
    notes: Sequence[str]
    """Notes for the user on how the images were found."""
    label_notes: Sequence[str]
    """Notes for the user on how the labels were found."""
    unlabelled: str
    """Reason why there are no labels; empty if there are labels, or if no more is known."""

    def __len__(self) -> int: ...

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        """(H, W, channels) uint8 or uint16 pixels. Raises BrokenImageError if the image cannot be decoded.

        With `short_side`, in pixels, the image may be decoded smaller, as long as its short side is at least that (`data.decode`).
        """
        ...

    def name(self, index: int) -> str:
        """Name of the image in messages and reports, e.g. its path."""
        ...

    def channels(self, index: int) -> int:
        """Number of channels of the image as stored: 1 for grey, 3 for colour. Raises BrokenImageError."""
        ...


@runtime_checkable
class Stored(Protocol):
    """A source whose images have content for a fingerprint, which shows whether they changed."""

    most_fingerprinted: int | None
    """Largest number of images whose bytes enter a fingerprint; None for all."""

    def stored(self, index: int) -> bytes:
        """The bytes of the image, or a sample of them if its file is large. Raises BrokenImageError."""
        ...

    def stamp(self, index: int) -> bytes:
        """Bytes that change whenever the image does. Raises BrokenImageError."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A source that knows the size of each image in bytes."""

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Size of each image in bytes; -1 if it is missing."""
        ...


@runtime_checkable
class InFiles(Protocol):
    """A source whose images may be files of their own."""

    def file(self, index: int) -> Path | None:
        """Path of the image's file; None if it is in another file."""
        ...


@runtime_checkable
class Part(Protocol):
    """A source of the images of another source at `indices` (`data.subset`)."""

    source: ImageSource
    indices: NDArray[np.int64]


def paths_of(source: ImageSource, indices: Sequence[int]) -> list[Path | None]:
    """Path of the file of each image, as relative as the source was named; None if the image is no file of its own."""
    inner, places = whole(source)
    return [inner.file(int(places[index])) if isinstance(inner, InFiles) else None for index in indices]


def files_of(source: ImageSource, indices: Sequence[int]) -> list[Path]:
    """Path of the file of each image. Raises DataError if one is no file of its own."""
    paths = paths_of(source, indices)
    found = [path for path in paths if path is not None]
    if len(found) < len(paths):
        raise DataError(
            f"{source.description} holds images that are no files of their own, so that none can be copied or linked. Leave "
            "--copy-to and --link-to out: the table has every image."
        )
    return found


def shown_names(source: ImageSource, indices: Sequence[int]) -> list[str]:
    """Path of the file of each image, or its name in the source if it is no file of its own."""
    paths = paths_of(source, indices)
    return [str(path or source.name(index)) for path, index in zip(paths, indices, strict=True)]


LUMA = np.array((19595, 38470, 7471))
"""Pillow's weights of red, green and blue for grey, in units of 1/65536."""


def with_channels(pixels: Image, channels: int) -> Image:
    """(H, W, C) -> (H, W, channels): grey becomes RGB, RGB becomes Pillow's grey. Raises BrokenImageError for other numbers."""
    stored = pixels.shape[2]
    if stored == channels:
        return pixels
    if (stored, channels) == (1, 3):
        return np.repeat(pixels, channels, axis=2)
    if (stored, channels) == (3, 1):
        return ((pixels @ LUMA + 0x8000) >> 16).astype(pixels.dtype)[..., None]
    raise BrokenImageError(f"it has {stored} channels where {channels} were expected")


LOOKED_AT = 16
"""Number of images among which one that can be decoded is looked for, to know the channels."""


def require_channels(source: ImageSource, channels: int) -> None:
    """Raises DataError if images of the source cannot be read with the number of channels that an encoder takes."""
    for index in range(min(LOOKED_AT, len(source))):
        try:
            stored = source.channels(index)
        except BrokenImageError:
            continue
        if stored != channels and {stored, channels} != {1, 3}:
            raise DataError(
                f"{source.description} has images of {stored} channels, and the encoder takes {channels}. Name an encoder of "
                f"such images, or images of {channels} channels."
            )
        return


FINGERPRINTED_NAMES = 1000
"""Largest number of images whose names enter a fingerprint."""
FINGERPRINTED_SIZES = 2**16
"""Largest number of images whose sizes in bytes enter a fingerprint."""
FINGERPRINTED_BYTES = 2**28
"""Number of bytes after which no further image enters a fingerprint."""
VERSION = "2:"
"""Prefix of fingerprints that include content. Fingerprints of an earlier version, of names only, have no prefix."""


def fingerprint(source: ImageSource) -> str:
    """18 characters that change with the number of images, their names, sizes and pixels.

    Large sources enter by a fixed random sample: parts of about a thousand files, or up to 256 MB of the rows of arrays and
    tables.
    """
    digest = hashlib.sha256(earlier_fingerprint(source).encode())
    order = np.random.default_rng(0).permutation(len(source))
    inner, places = whole(source)
    if isinstance(inner, Sized):
        digest.update(repr(inner.sizes(places[np.sort(order[:FINGERPRINTED_SIZES])])).encode())
    if isinstance(inner, Stored):
        remaining = FINGERPRINTED_BYTES
        for index in order[: inner.most_fingerprinted]:
            try:
                content = inner.stored(int(places[index]))
            except BrokenImageError as error:
                content = str(error).encode(errors="replace")
            digest.update(hashlib.sha256(content).digest())
            remaining -= len(content)
            if remaining < 0:
                break
    return VERSION + digest.hexdigest()[:16]


def earlier_fingerprint(source: ImageSource) -> str:
    """16 hexadecimal digits that change with the number of images and the names of up to a thousand evenly spaced ones."""
    sample = np.unique(np.linspace(0, len(source) - 1, FINGERPRINTED_NAMES).astype(int))
    names = [source.name(int(index)) for index in sample]
    return hashlib.sha256("\n".join([str(len(source)), *names]).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def has_fingerprint(source: ImageSource, known: str) -> bool:
    """Whether `known`, a fingerprint of this or an earlier version, is that of the source. An empty one fits every source."""
    return known in ("", fingerprint(source) if known.startswith(VERSION) else earlier_fingerprint(source))


def whole(source: ImageSource) -> tuple[ImageSource, NDArray[np.int64]]:
    """(whole source, (N,) index in it of each image of `source`). A source that is not a part is its own whole."""
    places = np.arange(len(source))
    while isinstance(source, Part):
        source, places = source.source, source.indices[places]
    return source, places


def image_keys(source: ImageSource) -> NDArray[np.void]:
    """(N,) 16 bytes of each image that change with its name, its file's times and size, or its pixels."""
    inner, places = whole(source)
    stored = inner if isinstance(inner, Stored) else None

    def key(index: int) -> bytes:
        digest = hashlib.blake2b(source.name(index).encode("utf-8", "surrogateescape"), digest_size=16)
        if stored is not None:
            try:
                digest.update(stored.stamp(int(places[index])))
            except BrokenImageError as error:
                digest.update(str(error).encode(errors="replace"))
        return digest.digest()

    return np.frombuffer(b"".join(key(index) for index in range(len(source))), np.dtype("V16"))


@dataclass
class SkippedImages:
    """Images that could not be decoded, each counted once, with the reason."""

    images: dict[tuple[str, int | str], tuple[str, str]] = field(default_factory=dict)
    """(name, reason) by source description and index or folder name: two images may have the same name."""

    def add(self, source: ImageSource, index: int, reason: str) -> None:
        """Adds an image. An image of a part counts as that of the whole source."""
        name = source.name(index)
        while isinstance(source, Part):
            source, index = source.source, int(source.indices[index])
        self.images.setdefault((source.description, index), (name, reason))

    def add_folder(self, source: ImageSource, name: str, reason: str) -> None:
        """Adds a folder that cannot be read."""
        self.images.setdefault((source.description, name), (name, reason))

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """(name, reason) of each skipped image or folder."""
        return list(self.images.values())

    def __len__(self) -> int:
        return len(self.images)
