"""Statistics of a sample of the images, from which settings of a training are derived."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages
from byol.data.image_folder import ImageFolder
from byol.data.number_format import OneFormat, rule_of
from byol.data.source import ImageSource, SkippedImages, whole
from byol.errors import BrokenImageError, DataError
from byol.runtime.hardware import num_cores
from byol.runtime.number_format import TOP
from byol.runtime.words import counted

PROBED_IMAGES = 256
PROFILED_ROWS = 256
MEASURED_SIDE = 512
"""Smallest short side, in pixels, at which large JPEG files are decoded to measure their pixels."""
COUNTED_HEADERS = 20_000
"""Largest number of encoded images whose headers are read."""
MIN_IMAGES = 16
NOTED = 0.1
"""Fraction of broken images, of copies and of images of one colour in the sample above which the profile has a note on them."""
FEWEST_WIDE = 64
"""Smallest maximum of the upper 8 bits of 16-bit colour. A lower maximum means that the files hold fewer bits."""


@dataclass(frozen=True)
class DataProfile:
    """Statistics of a sample of the images."""

    channels: int
    short_side: int
    """Median short side of the sampled images, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Standard deviation of all pixels per channel, in [0, 1]."""
    number_format: str = ""
    """Rule by which values of more than 8 bits become pixels; empty if there are no such values."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user about these images."""


@dataclass
class _Moments:
    """Sums over the pixels of the sampled images."""

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    pixels: int = 0
    sides: list[int] = field(default_factory=list)
    highest: dict[int, int] = field(default_factory=dict)
    """Largest value by index of the image."""
    pictures: set[bytes] = field(default_factory=set)
    """Digests of the pixels, one per different picture."""
    plain: int = 0
    """Number of images whose pixels are all equal."""


def profile(source: ImageSource, skipped: SkippedImages) -> DataProfile:
    """Reads the headers of up to 20,000 encoded images and the pixels of up to 256 images, sampled at random.

    Raises DataError if no image of the sample can be decoded, or if the source has fewer than `MIN_IMAGES`.
    """
    inner, places = whole(source)
    if isinstance(inner, ImageFolder):
        for name, reason in inner.unreadable.items():
            skipped.add_folder(source, name, reason)
    if not len(source):
        raise DataError(f"{source.description} holds 0 images; name a folder or file with images.")
    order = np.random.default_rng(0).permutation(len(source))
    probed = np.sort(order[:PROBED_IMAGES])
    counted = np.sort(order[:COUNTED_HEADERS]) if isinstance(inner, EncodedImages) else probed
    kinds = _kinds(source, counted, inner, places, skipped)
    channels = _common_channels(kinds)
    moments = _measure(source, [int(index) for index in probed if int(index) in kinds], channels, skipped)
    if not moments.sides:
        name, reason = skipped.reasons[0]
        raise DataError(
            f"None of the {len(probed)} images looked at in {source.description} can be decoded ({name}: {reason}); "
            "name a folder or file with images."
        )
    if len(source) < MIN_IMAGES:
        raise DataError(f"{source.description} holds {len(source)} images; pretraining needs at least {MIN_IMAGES}.")
    if isinstance(inner, OneFormat) and inner.wanted_range and rule_of(source) is None:
        raise DataError(f"--data.range is for images of more than 8 bits; {source.description} has none.")
    mean = moments.sums / moments.pixels
    std = np.sqrt(np.maximum(moments.squares / moments.pixels - mean**2, 1e-6))
    rule = format_words(source)
    notes = [_kinds_note(kinds, channels, len(source)), rule, _wide_note(kinds, moments)]
    notes += _faults(len(probed), moments, skipped)
    return DataProfile(
        channels,
        int(np.median(moments.sides)),
        tuple(mean.round(4).tolist()),
        tuple(std.round(4).tolist()),
        rule,
        [note for note in notes if note],
    )


def format_words(source: ImageSource) -> str:
    """Rule, in words, by which deep values of the source become pixels; empty if there are none or it is not known yet."""
    inner = whole(source)[0]
    return str(inner.known_format or "") if isinstance(inner, OneFormat) else ""


def _kinds(
    source: ImageSource,
    indices: NDArray[np.int64],
    inner: ImageSource,
    places: NDArray[np.int64],
    skipped: SkippedImages,
) -> dict[int, tuple[int, str]]:
    """(channels, mode) by index of each image whose header can be read; the others go to `skipped`."""

    def look(index: int) -> tuple[int, str] | BrokenImageError:
        try:
            if isinstance(inner, EncodedImages):
                return inner.kind(int(places[index]))
            channels = source.channels(index)
            return channels, f"with {counted(channels, 'channel')}"
        except BrokenImageError as error:
            return error

    kinds: dict[int, tuple[int, str]] = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for index, kind in zip(indices.tolist(), pool.map(look, indices.tolist()), strict=True):
            if isinstance(kind, BrokenImageError):
                skipped.add(source, index, str(kind))
            else:
                kinds[index] = kind
    return kinds


def _common_channels(kinds: dict[int, tuple[int, str]]) -> int:
    """Number of channels for training: 3 if grey and colour are mixed, else the most common number."""
    counts = Counter(channels for channels, _ in kinds.values())
    return 3 if set(counts) == {1, 3} else counts.most_common(1)[0][0] if counts else 0


def _measure(source: ImageSource, indices: list[int], channels: int, skipped: SkippedImages) -> _Moments:
    moments = _Moments(np.zeros(channels), np.zeros(channels))
    inner, places = whole(source)
    for index in indices:
        try:
            image = source.read(index, channels, MEASURED_SIDE)
            sides = inner.dimensions(int(places[index])) if isinstance(inner, EncodedImages) else image.shape[:2]
        except BrokenImageError as error:
            skipped.add(source, index, str(error))
            continue
        moments.sides.append(min(sides))
        top = TOP[image.dtype]
        moments.highest[index] = int(image.max())
        moments.pictures.add(hashlib.blake2b(image.tobytes(), digest_size=16).digest())
        moments.plain += bool((image == image[0, 0]).all())
        for start in range(
            0, len(image), PROFILED_ROWS
        ):  # in blocks, since counting takes many times the size of a large image
            rows = image[start : start + PROFILED_ROWS]
            counts = np.stack([np.bincount(rows[..., c].ravel(), minlength=top + 1) for c in range(channels)])
            values = np.arange(top + 1) / top
            moments.sums += counts @ values
            moments.squares += counts @ values**2
        moments.pixels += image.shape[0] * image.shape[1]
    return moments


def _kinds_note(kinds: dict[int, tuple[int, str]], channels: int, total: int) -> str:
    counts = Counter(mode for _, mode in kinds.values()).most_common()
    if len(counts) < 2:
        return ""
    numbers = ", ".join(f"{count} {mode}" for mode, count in counts)
    sample = "" if len(kinds) == total else f" (of {len(kinds):,} looked at)"
    several = len({c for c, _ in kinds.values()}) > 1
    return f"the images differ in kind: {numbers}{sample}" + (
        f"; all are read with {counted(channels, 'channel')}" if several else ""
    )


def _faults(looked_at: int, moments: _Moments, skipped: SkippedImages) -> list[str]:
    """Notes on broken images, copies and images of one colour, where they are more than `NOTED` of those looked at."""
    decoded = len(moments.sides)
    reason = f" ({skipped.reasons[-1][1]})" if skipped.reasons else ""
    found = (
        (looked_at - decoded, f"cannot be decoded{reason}; byol check-data names all, and --checked leaves them out"),
        (
            decoded - len(moments.pictures),
            "are copies of others, from which nothing new is learned; byol check-data names all",
        ),
        (moments.plain, "have one colour throughout, so that there is nothing to learn from them"),
    )
    return [f"{count} of {looked_at} images looked at {what}" for count, what in found if count > NOTED * looked_at]


def _wide_note(kinds: dict[int, tuple[int, str]], moments: _Moments) -> str:
    """A note on the loss of bits in 16-bit colour; empty if there is no such image."""
    wide = [index for index, (_, mode) in kinds.items() if mode.endswith(";16") and mode[0] != "I"]
    if not wide:
        return ""
    highest = max((moments.highest[index] for index in wide if index in moments.highest), default=255)
    few = (
        f", with a maximum of only {highest} of 255, so the files hold fewer bits: scale them to 16 bits, or store 8"
        if highest < FEWEST_WIDE
        else ""
    )
    return f"{len(wide)} images have 16-bit colour, of which the upper 8 bits are read{few}; PNG and TIFF keep all"
