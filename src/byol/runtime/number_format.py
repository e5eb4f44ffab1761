"""The rule by which values of more than 8 bits become pixels, as it is saved with an encoder."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.errors import BrokenImageError

TOP = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""Value of a pixel that stands for 1, by type; 0 stands for 0."""
INTEGER_RANGES = {255: 8, 1023: 10, 4095: 12, 16383: 14, 65535: 16}
"""Number of bits by the largest value that they hold."""


def filled(values: NDArray[Any], missing: float | None = None) -> NDArray[Any]:
    """(H, W, bands) values in which NaN and `missing` are replaced by the lowest other value of their band.

    Raises BrokenImageError if a band has no other value.
    """
    is_missing = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    if missing is not None and not np.isnan(missing):
        is_missing |= np.isclose(values, missing, rtol=1e-6, atol=0) if values.dtype.kind == "f" else values == missing
    if not is_missing.any():
        return values
    out = values.copy()
    for band in range(values.shape[2]):
        known = values[..., band][~is_missing[..., band]]
        if not known.size:
            raise BrokenImageError("it has no data, or one band has none")
        out[..., band][is_missing[..., band]] = known.min()
    return out


@dataclass(frozen=True)
class ValueRange:
    """Values that become 0 and 1, per band or one for all."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    clips: bool = False
    """Whether values beyond become 0 or 1; else their image is broken."""

    def __str__(self) -> str:
        pairs = [f"{low:g} to {high:g}" for low, high in zip(self.low, self.high, strict=True)]
        return f"{', '.join(pairs)}{' and clipped' if self.clips else ''}"


@dataclass(frozen=True)
class NumberFormat:
    """The rule of a data set: the range of integers and that of floats."""

    integers: ValueRange = ValueRange((0.0,), (65535.0,))
    floats: ValueRange = ValueRange((0.0,), (1.0,))
    kinds: tuple[bool, ...] = ()
    """Sorted kinds of the deep images in the sample, True for floats; empty if there are none."""

    @classmethod
    def read(cls, entries: dict[str, Any]) -> "NumberFormat":
        """The rule from what `dataclasses.asdict` and JSON made of it. Raises KeyError, TypeError."""
        integers, floats = (
            ValueRange(tuple(entries[kind]["low"]), tuple(entries[kind]["high"]), entries[kind]["clips"])
            for kind in ("integers", "floats")
        )
        return cls(integers, floats, tuple(entries["kinds"]))

    def as_pixels(self, values: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
        """uint16 pixels of (H, W) or (H, W, bands) values; uint8 if the rule is 0 to 255 for integers.

        NaN gets the lowest other value of its band. Raises BrokenImageError if a value is out of the range and the rule does not clip.
        """
        values = filled(values if values.ndim == 3 else values[..., None]).reshape(values.shape)
        is_float = values.dtype.kind == "f"
        rule = self.floats if is_float else self.integers
        low, high = np.array(rule.low), np.array(rule.high)
        if len(low) > 1 and values.shape[2:] != low.shape:
            raise BrokenImageError(
                f"it has {values.shape[2] if values.ndim == 3 else 1} bands, and the range is of {len(low)}"
            )
        if not rule.clips:
            least, most = values.min(), values.max()
            if not (least >= low.min() and most <= high.max()):
                raise BrokenImageError(
                    f"its values, {least:g} to {most:g}, do not fit {rule}; give the range as --data.range LOW,HIGH, or "
                    f"percentiles, --data.range 1%,99%"
                )
        if not is_float and rule == _BYTES:
            return values.astype(np.uint8)
        scaled = (values.astype(np.float64) - low) * (TOP[np.dtype(np.uint16)] / (high - low))
        return scaled.clip(0, TOP[np.dtype(np.uint16)]).round().astype(np.uint16)

    def __str__(self) -> str:
        """The rule in words; empty if no image needs it."""
        parts = []
        if False in self.kinds:
            bits = INTEGER_RANGES.get(int(self.integers.high[0]), 0) if self.integers.low == (0.0,) else 0
            of_bits = f" of {bits} bits" if bits else ""
            parts.append(f"integers{of_bits} ({self.integers}) in deeper files")
        if True in self.kinds:
            parts.append(f"float values ({self.floats})")
        return f"{' and '.join(parts)} are scaled to 0 to 1" if parts else ""


_BYTES = ValueRange((0.0,), (255.0,))
