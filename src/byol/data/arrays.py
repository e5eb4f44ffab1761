"""A source whose images are one array in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from byol.data.layout import as_stack
from byol.data.number_format import OneFormat
from byol.data.source import Image, with_channels
from byol.errors import DataError


class ArrayImages(OneFormat):
    """(N, H, W) or (N, H, W, C) numbers, any number of channels, with optional (N,) labels.

    `layout`: order of the axes, needed if type and shape leave it open (`data.layout`).
    """

    notes: Sequence[str] = ()
    label_notes: Sequence[str] = ()
    unlabelled: str = ""
    path: Path | None = None
    """File that `open` mapped into memory."""
    most_fingerprinted: int | None = None

    def __init__(
        self,
        pixels: Any,
        labels: NDArray[np.int64] | None = None,
        class_names: list[str] | None = None,
        description: str = "array",
        layout: str = "",
    ) -> None:
        self.pixels: NDArray[Any] = as_stack(pixels, layout)
        if labels is not None and len(labels) != len(pixels):
            raise DataError(f"{len(pixels)} images have {len(labels)} labels; give one for each.")
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description
        self.layout = layout

    @classmethod
    def open(cls, path: Path, layout: str = "") -> "ArrayImages":
        """Maps a .npy file into memory. Raises DataError if it is not a .npy file, or holds no such images."""
        try:
            pixels = npy.open_memmap(path, mode="r")  # np.load leaves a torn zip file open
        except Exception as error:  # a file of another kind makes numpy raise almost anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path} cannot be read as an array of numbers ({reason}).") from error
        try:
            images = cls(pixels, description=f"array {path}", layout=layout)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        images.path = path
        return images

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles a mapped file as its path, so that workers map the same pages."""
        state = {name: getattr(self, name) for name in ("known_format", "decided_by", "wanted_range")}
        if self.path is not None:
            return ArrayImages.open, (self.path, self.layout), state
        return ArrayImages, (self.pixels, self.labels, self.class_names, self.description, "NHWC"), state

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        pixels = self.pixels[index]
        return with_channels(pixels if pixels.dtype == np.uint8 else self.number_format().as_pixels(pixels), channels)

    def deep(self, index: int) -> tuple[NDArray[Any], float] | None:
        return None if self.pixels.dtype == np.uint8 else (self.pixels[index], 0.0)

    def name(self, index: int) -> str:
        return f"image {index}"

    def channels(self, index: int) -> int:
        return self.pixels.shape[3]

    def stored(self, index: int) -> bytes:
        """The pixels of the image."""
        return self.pixels[index].tobytes()

    stamp = stored
