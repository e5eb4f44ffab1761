"""Scaling of grey values of more than 8 bits to bytes, by one rule for a whole data set, never one per picture."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from byol.data.source import Image, ImageSource, whole
from byol.errors import BrokenImageError

INTEGER_RANGES = {255: 8, 1023: 10, 4095: 12, 16383: 14, 65535: 16}
"""Number of bits by the largest value that they hold."""
SAMPLED_HEADERS = 4096
"""Largest number of images whose headers are read to find deep ones."""
SAMPLED_IMAGES = 256
"""Largest number of deep images whose values are read to choose the rule."""
SEED = 0
_deciding = threading.RLock()


@dataclass(frozen=True)
class DeepRange:
    """Range of the values of one deep grey image."""

    is_float: bool
    low: float
    high: float


@dataclass(frozen=True)
class NumberFormat:
    """The rule: the integer and the float value that become 255. 0 stays 0."""

    integers: int = 65535
    floats: float = 1.0
    kinds: tuple[bool, ...] = ()
    """Sorted kinds of the deep images in the sample, True for floats; empty if there are none."""

    def as_bytes(self, values: NDArray[np.float64], *, is_float: bool) -> Image:
        """The values, scaled to 0 to 255 and rounded. Raises BrokenImageError if one is out of the range."""
        top = self.floats if is_float else self.integers
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= top):
            raise BrokenImageError(f"its values, {low:g} to {high:g}, do not fit 0 to {top:g}; store it with 8 bits")
        return (values / (top / 255)).round().astype(np.uint8)

    def __str__(self) -> str:
        """The rule in words; empty if no image needs it."""
        parts = []
        if False in self.kinds:
            bits = INTEGER_RANGES[self.integers]
            parts.append(f"grey values of {bits} bits (0 to {self.integers}) in deeper files")
        if True in self.kinds:
            parts.append(f"float values of 0 to {self.floats:g}")
        return f"{' and '.join(parts)} are scaled to 0 to 255" if parts else ""


def format_of(ranges: Iterable[DeepRange]) -> NumberFormat:
    """The narrowest usual range that holds all values. Images that fit no range are ignored here and fail in `as_bytes`."""
    fitting = [r for r in ranges if r.low >= 0 and r.high <= 65535]
    integers = max((r.high for r in fitting if not r.is_float), default=65535)
    floats = max((r.high for r in fitting if r.is_float), default=1.0)
    kinds = tuple(sorted({r.is_float for r in fitting}))
    return NumberFormat(min(top for top in INTEGER_RANGES if top >= integers), 1.0 if floats <= 1 else 255.0, kinds)


class OneFormat(ABC):
    """Base class of sources with deep images. When the first one is read, a sample of images decides the rule for all."""

    known_format: NumberFormat | None = None
    """The rule, once it is known; None before the first deep image is read."""
    decided_by: "OneFormat | None" = None
    """The training images, if this source has the test images: both follow one rule."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def deep_range(self, index: int) -> DeepRange | None:
        """The range of the image if it is deep grey, else None. Raises BrokenImageError."""

    def number_format(self) -> NumberFormat:
        """The rule for all images of the source, decided by a sample of them on the first call."""
        with _deciding:
            if self.decided_by is not None:
                return self.decided_by.number_format()
            if self.known_format is None:
                order = np.random.default_rng(SEED).permutation(len(self))[:SAMPLED_HEADERS]
                ranges: list[DeepRange] = []
                for index in order:
                    try:
                        values = self.deep_range(int(index))
                    except BrokenImageError:
                        continue
                    if values is not None:
                        ranges.append(values)
                    if len(ranges) == SAMPLED_IMAGES:
                        break
                self.known_format = format_of(ranges)
            return self.known_format


def share_format(train: ImageSource, test: ImageSource) -> None:
    """Makes the test images follow the rule of the training images."""
    first, second = whole(train)[0], whole(test)[0]
    if isinstance(first, OneFormat) and isinstance(second, OneFormat) and first is not second:
        second.decided_by = first
