"""Pixels of images with more than 8 bits: 16-bit pixels by one rule for a whole data set, never one per picture."""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.data.source import ImageSource, whole
from byol.errors import BrokenImageError, DataError
from byol.runtime.number_format import INTEGER_RANGES, NumberFormat, ValueRange

SAMPLED_HEADERS = 4096
"""Largest number of images whose headers are read to find deep ones."""
SAMPLED_IMAGES = 256
"""Largest number of deep images whose values are read to choose the rule."""
SAMPLED_VALUES = 4096
"""Largest number of values per band and image that enter percentiles."""
SEED = 0
_deciding = threading.RLock()
_NUMBER = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
FEWEST_INSIDE = 0.001
"""Fraction of the sampled values below which a given range is refused: nearly all values would become 0 or 1."""
FEW = 0.1
"""Fraction of deep images below which values that fit no usual range do not decide the rule: these images are broken."""


@dataclass(frozen=True)
class DeepRange:
    """Range of the values of one deep image."""

    is_float: bool
    low: float
    high: float
    zeros: int = 0
    """Number of lowest bits that are 0 in every value of an integer image."""


def range_of(values: NDArray[Any], stated: float = 0.0) -> DeepRange:
    """The range of the values of an image; `stated`: the largest value that its file allows. NaN counts for nothing."""
    is_float = values.dtype.kind == "f"
    known = values[np.isfinite(values)] if is_float else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    union = 0 if is_float or low < 0 else int(np.bitwise_or.reduce(known, axis=None))
    zeros = (union & -union).bit_length() - 1 if union and not stated else 0
    return DeepRange(is_float, low, max(high, stated), zeros)


def format_of(ranges: Sequence[DeepRange]) -> NumberFormat:
    """The narrowest usual range that holds all values: 8, 10, 12, 14 or 16 bits of integers, 0 to 1 or 0 to 255 of floats.

    Integers of 16 bits whose lowest 2, 4, 6 or 8 are 0 throughout are taken as 14, 12, 10 or 8 bits, shifted. Where more than a few images
    fit no usual range, such as signed ones, it is the range of the values seen, and values beyond are clipped.
    """
    integers, floats = ([each for each in ranges if each.is_float == is_float] for is_float in (False, True))
    kinds = tuple(sorted({each.is_float for each in ranges}))
    return NumberFormat(_integer_range(integers), _float_range(floats), kinds)


def _usual(ranges: Sequence[DeepRange], highest: float) -> Sequence[DeepRange] | ValueRange:
    """Ranges that lie in 0 to `highest`, or the range of all values if too many do not."""
    fitting = [each for each in ranges if each.low >= 0 and each.high <= highest]
    if len(ranges) - len(fitting) <= FEW * len(ranges):
        return fitting
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    return ValueRange((low,), (max(high, low + 1e-6),), clips=True)


def _integer_range(ranges: Sequence[DeepRange]) -> ValueRange:
    fitting = _usual(ranges, 65535)
    if isinstance(fitting, ValueRange):
        return fitting
    highest = int(max((each.high for each in fitting), default=65535))
    top = min(top for top in INTEGER_RANGES if top >= highest)
    zeros = min((each.zeros for each in fitting if each.high > 0), default=0)
    for shifted, bits in INTEGER_RANGES.items():
        if top == 65535 and bits == 16 - zeros:
            top = shifted << zeros
    return ValueRange((0.0,), (float(top),))


def _float_range(ranges: Sequence[DeepRange]) -> ValueRange:
    fitting = _usual(ranges, 255)
    if isinstance(fitting, ValueRange):
        return fitting
    return ValueRange((0.0,), (1.0 if max((each.high for each in fitting), default=1.0) <= 1 else 255.0,))


def parse_range(text: str) -> tuple[float, float, bool]:
    """(low, high, whether both are percentiles) of `--data.range`. Raises DataError if the text is neither."""
    for pattern, is_percent in ((f"{_NUMBER},{_NUMBER}", False), (f"{_NUMBER}%,{_NUMBER}%", True)):
        if found := re.fullmatch(pattern, text.replace(" ", "")):
            low, high = (float(number) for number in found.groups())
            if low < high and (not is_percent or (low >= 0 and high <= 100)):
                return low, high, is_percent
    raise DataError(f"--data.range is LOW,HIGH (such as 0,4095) or percentiles (1%,99%); found {text!r}.")


def percentiles(images: Sequence[NDArray[Any]], low: float, high: float) -> NumberFormat:
    """The rule by percentiles, from 0 to 100, of the values of each band over all images."""
    sampled: list[NDArray[Any]] = []
    for image in images:
        flat = image.reshape(-1, image.shape[2] if image.ndim == 3 else 1).astype(np.float64)
        sampled.append(np.where(np.isfinite(flat), flat, np.nan))
    bands = {flat.shape[1] for flat in sampled}
    if len(bands) > 1:
        raise DataError(f"The images have {' and '.join(map(str, sorted(bands)))} bands: no percentiles fit all.")
    lows, highs = np.nanpercentile(np.concatenate(sampled), [low, high], axis=0)
    if constant := np.flatnonzero(~(highs > lows)).tolist():
        raise DataError(
            f"Band {constant[0] + 1} has the value {lows[constant[0]]:g} at both percentiles; give --data.range LOW,HIGH."
        )
    shared = ValueRange(tuple(lows.tolist()), tuple(highs.tolist()), clips=True)
    return NumberFormat(shared, shared, tuple(sorted({image.dtype.kind == "f" for image in images})))


class OneFormat(ABC):
    """Base class of sources with deep images. When the first one is read, a sample of images decides the rule for all."""

    known_format: NumberFormat | None = None
    """The rule, once it is known; None before the first deep image is read."""
    decided_by: "OneFormat | None" = None
    """The training images, if this source has the test images: both follow one rule."""
    wanted_range: str = ""
    """The user's `--data.range`; empty: by the bits."""
    no_format: DataError | None = None
    """The error where the sample allows no rule, so that it is read once."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def deep(self, index: int) -> tuple[NDArray[Any], float] | None:
        """((H, W) or (H, W, bands) values as stored, largest value that the file states or 0) of an image with more than 8 bits.

        None for an image of 8 bits. Raises BrokenImageError.
        """

    def number_format(self) -> NumberFormat:
        """The rule for all images of the source, decided by a sample of them on the first call."""
        with _deciding:
            if self.decided_by is not None:
                return self.decided_by.number_format()
            if self.no_format is not None:
                raise self.no_format
            if self.known_format is None:
                try:
                    self.known_format = self._decide()
                except DataError as error:
                    self.no_format = error
                    raise
            return self.known_format

    def _decide(self) -> NumberFormat:
        low, high, is_percent = parse_range(self.wanted_range) if self.wanted_range else (0.0, 0.0, False)
        ranges: list[DeepRange] = []
        thinned: list[NDArray[Any]] = []
        for index in np.random.default_rng(SEED).permutation(len(self))[:SAMPLED_HEADERS]:
            try:
                found = self.deep(int(index))
            except BrokenImageError:
                continue
            if found is not None:
                ranges.append(range_of(*found))
                thinned += [_thinned(found[0])] if self.wanted_range else []
            if len(ranges) == SAMPLED_IMAGES:
                break
        if not self.wanted_range or not ranges:
            return format_of(ranges)
        if is_percent:
            return percentiles(thinned, low, high)
        _require_some_inside(thinned, low, high, self.wanted_range)
        given = ValueRange((low,), (high,), clips=True)
        return NumberFormat(given, given, tuple(sorted({each.is_float for each in ranges})))


def _require_some_inside(images: Sequence[NDArray[Any]], low: float, high: float, text: str) -> None:
    """Raises DataError if nearly all values of the images lie beyond the range that the user gave."""
    values = np.concatenate([image.reshape(-1).astype(np.float64) for image in images])
    values = values[np.isfinite(values)]
    inside = float(((values >= low) & (values <= high)).mean()) if len(values) else 1.0
    if inside < FEWEST_INSIDE:
        raise DataError(
            f"--data.range {text} leaves {100 * inside:.2g} % of the values of {len(images)} images between 0 and 1: they go from "
            f"{values.min():g} to {values.max():g}. Give a range of these values, or percentiles (1%,99%)"
        )


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Every n-th row and column, with about `SAMPLED_VALUES` values per band."""
    step = max(1, int((values.shape[0] * values.shape[1] / SAMPLED_VALUES) ** 0.5))
    return values[::step, ::step].copy()


def follow(source: ImageSource, rule: NumberFormat | None) -> None:
    """Makes the deep images of a source follow a known rule, that of a trained encoder; None: by their own sample."""
    inner = whole(source)[0]
    if rule is not None and isinstance(inner, OneFormat) and not inner.wanted_range:
        inner.known_format = rule


def rule_of(source: ImageSource) -> NumberFormat | None:
    """The rule of a source whose deep images were read; None if it has none."""
    inner = whole(source)[0]
    if not isinstance(inner, OneFormat) or (inner.known_format is None and inner.decided_by is None):
        return None
    rule = inner.number_format()
    return rule if rule.kinds else None


def share_format(train: ImageSource, test: ImageSource) -> None:
    """Makes the test images follow the rule of the training images."""
    first, second = whole(train)[0], whole(test)[0]
    if isinstance(first, OneFormat) and isinstance(second, OneFormat) and first is not second:
        second.decided_by = first
