"""Simple measures of pictures from their pixels and files, and what looks wrong by them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.decode import EncodedImages
from byol.data.source import Image, ImageSource, Sized, whole, with_channels
from byol.errors import BrokenImageError
from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener

BLANK = 0.02
"""Standard deviation of the luma, from 0 to 1, below which a picture is blank; proportionally less where the light is less than `DARK`."""
DARK = 0.2
"""Luma, from 0 to 1, that 95 % of a dark picture's pixels are below."""
BLURRED = 0.16
"""Sharpness (`Measures.sharpness`) below which a picture is blurred, as a fraction of the median sharpness."""
TINY = 0.25
"""Short side of a tiny picture, as a fraction of the median short side."""
ODD_SHAPE = 2.5
"""Ratio of the long to the short side of a picture of odd shape, as a multiple of the median ratio."""
MEASURED_SIDE = 256
"""Largest short side, in pixels, at which pictures are measured: sharpness then means the same for photos of every size."""
SMALL_SIDE = 32
BLOCK = 512


@dataclass(frozen=True)
class Measures:
    """Measures of N pictures, (N,) each. A picture that cannot be decoded has NaN."""

    brightness: NDArray[np.float64]
    """Mean luma, from 0 to 1."""
    highlights: NDArray[np.float64]
    """Luma, from 0 to 1, that 95 % of the pixels are below."""
    contrast: NDArray[np.float64]
    """Standard deviation of the luma."""
    sharpness: NDArray[np.float64]
    """Standard deviation of the luma's Laplacian divided by the contrast, at a short side of at most 256 px."""
    short_side: NDArray[np.float64]
    """Short side in pixels, as stored."""
    ratio: NDArray[np.float64]
    """Ratio of the long to the short side."""
    channels: NDArray[np.float64]
    """Number of channels, as stored."""
    bytes_per_pixel: NDArray[np.float64]
    """Size of the file divided by its number of pixels; NaN if it is no file."""
    digest: NDArray[np.void]
    """16 bytes that are equal for equal pixels."""
    small: NDArray[np.uint8]
    """(N, SMALL_SIDE squared) luma of each picture, stretched to a square of `SMALL_SIDE` px."""
    ending: list[str]
    """Ending of the file's name, such as `.jpg`."""

    def at(self, rows: NDArray[np.int64]) -> "Measures":
        """The measures of some of the pictures."""
        columns = {name: getattr(self, name)[rows] for name in (*_NUMBERS, "bytes_per_pixel", "digest", "small")}
        return Measures(**columns, ending=[self.ending[row] for row in rows])

    @classmethod
    def joined(cls, parts: "Sequence[Measures]") -> "Measures":
        """The measures of all parts, one after the other."""
        names = (*_NUMBERS, "bytes_per_pixel", "digest", "small")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns, ending=[ending for part in parts for ending in part.ending])


_NUMBERS = ("brightness", "highlights", "contrast", "sharpness", "short_side", "ratio", "channels")


def measure_pictures(source: ImageSource, listener: Listener = SILENT) -> Measures:
    """Reads every picture of a source once and measures it; large JPEG files are decoded at a smaller scale."""
    count = len(source)
    numbers = np.full((count, len(_NUMBERS)), np.nan)
    digests, small = np.zeros(count, "V16"), np.zeros((count, SMALL_SIDE**2), np.uint8)
    for index, found in enumerate(_all(source, listener)):
        if found is not None:
            numbers[index], digests[index], small[index] = found
        else:
            digests[index] = blake2b(
                f"{index} of {source.description}".encode(errors="replace"), digest_size=16
            ).digest()
    inner, places = whole(source)
    sizes = np.full(count, np.nan)
    if isinstance(inner, Sized):
        sizes = np.asarray(inner.sizes(places), np.float64)
    pixels = numbers[:, 4] ** 2 * numbers[:, 5]
    endings = [PurePath(source.name(index)).suffix.lower() for index in range(count)]
    columns = dict(zip(_NUMBERS, numbers.T, strict=True))
    return Measures(**columns, bytes_per_pixel=sizes / pixels, digest=digests, small=small, ending=endings)


def faults(measures: Measures) -> list[tuple[int, str, str]]:
    """(picture, kind, numbers in words) of every picture that looks wrong: blank, dark, blurred, tiny or of odd shape.

    A blank picture is not called dark or blurred as well. Limits of sharpness, size and shape are relative to the data's own medians.
    """
    found: list[tuple[int, str, str]] = []
    columns = (measures.short_side, measures.ratio, measures.sharpness)
    sides, ratios, sharpness = (float(np.nanmedian(column)) for column in columns)
    blank = measures.contrast < BLANK * np.minimum(1, measures.highlights / DARK)
    rules: tuple[tuple[str, NDArray[np.bool_], NDArray[np.float64], str], ...] = (
        ("blank", blank, measures.contrast, "standard deviation of the luma {:.3f}"),
        (
            "dark",
            ~blank & (measures.highlights < DARK),
            measures.highlights,
            f"95 % of the pixels have a luma below {{:.2f}} (limit {DARK:g})",
        ),
        (
            "blurred",
            ~blank & (measures.sharpness < BLURRED * sharpness),
            measures.sharpness,
            f"sharpness {{:.3f}}, the median is {sharpness:.3f}",
        ),
        (
            "tiny",
            measures.short_side < TINY * sides,
            measures.short_side,
            f"short side {{:.0f}} px, the median is {sides:.0f}",
        ),
        (
            "odd shape",
            measures.ratio > ODD_SHAPE * ratios,
            measures.ratio,
            f"sides as {{:.1f}} to 1, the median is {ratios:.1f}",
        ),
    )
    for kind, is_wrong, values, words in rules:
        found += [(int(index), kind, words.format(values[index])) for index in np.flatnonzero(is_wrong)]
    return found


def small_pictures(source: ImageSource, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(M, SMALL_SIDE squared) luma of some pictures as in `Measures.small`; zeros for one that cannot be decoded."""

    def look(index: int) -> NDArray[np.uint8]:
        try:
            return _small(_grey(source.read(index, source.channels(index), MEASURED_SIDE)))
        except BrokenImageError:
            return np.zeros(SMALL_SIDE**2, np.uint8)

    with ThreadPoolExecutor(num_cores()) as pool:
        return np.stack(list(pool.map(look, indices.tolist())))


def _all(source: ImageSource, listener: Listener) -> Iterator[tuple[list[float], bytes, Image] | None]:
    """The numbers, the digest and the small version of each picture; None if it cannot be decoded."""
    inner, places = whole(source)

    def look(index: int) -> tuple[list[float], bytes, Image] | None:
        try:
            channels = source.channels(index)
            pixels = source.read(index, channels, MEASURED_SIDE)
            sides = pixels.shape[:2]
            if isinstance(inner, EncodedImages):
                sides = inner.dimensions(int(places[index]))
        except BrokenImageError:
            return None
        grey, digest = _grey(pixels), blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
        return [*_of_pixels(grey), min(sides), max(sides) / min(sides), channels], digest, _small(grey)

    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(source), BLOCK):
            block = range(start, min(start + BLOCK, len(source)))
            yield from pool.map(look, block)
            listener.work("measuring", block.stop, len(source))


def _grey(pixels: Image) -> NDArray[np.uint8]:
    """(H, W) luma of (H, W, C) pixels in 8 bits: of three channels Pillow's, else the first."""
    grey = (with_channels(pixels, 1) if pixels.shape[2] == 3 else pixels)[..., 0]
    return (grey >> 8 if grey.dtype == np.uint16 else grey).astype(np.uint8, copy=False)


def _small(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(SMALL_SIDE squared,) pixels of an (H, W) picture, stretched to a square."""
    size = (SMALL_SIDE, SMALL_SIDE)
    return np.asarray(PillowImage.fromarray(grey).resize(size, PillowImage.Resampling.BOX)).ravel()


def _of_pixels(grey: NDArray[np.uint8]) -> list[float]:
    """Brightness, highlights, contrast and sharpness of an (H, W) picture."""
    height, width = grey.shape
    scale = MEASURED_SIDE / min(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = np.asarray(PillowImage.fromarray(grey).resize(size, PillowImage.Resampling.BOX))
    luma = grey.astype(np.float32) / 255
    contrast, sharpness = float(luma.std()), 0.0
    if min(luma.shape) > 2 and contrast > 0:
        inside = luma[1:-1, 1:-1]
        laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inside
        sharpness = float(laplacian.std()) / contrast
    return [float(luma.mean()), float(np.quantile(luma, 0.95)), contrast, sharpness]
