"""Images that are one array in memory."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.data.source import Image, with_channels
from byol.errors import DataError


class ArrayImages:
    """(N, H, W) or (N, H, W, C) uint8 pixels, any number of channels, with optional (N,) labels."""

    path: Path | None = None
    """The file that `open` mapped."""

    def __init__(
        self,
        pixels: Image,
        labels: NDArray[np.int64] | None = None,
        class_names: list[str] | None = None,
        description: str = "array",
    ) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
            raise DataError(
                f"Images as an array must be uint8 of shape (N, H, W) or (N, H, W, C); found {pixels.dtype} {pixels.shape}."
            )
        if pixels.ndim == 4 and pixels.shape[1] in (1, 3, 4) and min(pixels.shape[2:]) > 4:
            raise DataError(
                f"An array of shape {pixels.shape} looks like (N, C, H, W); channels come last here: give "
                f"array.transpose(0, 2, 3, 1)."
            )
        if labels is not None and len(labels) != len(pixels):
            raise DataError(f"{len(pixels)} images have {len(labels)} labels; give one for each.")
        self.pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.class_names = class_names
        self.description = description

    @classmethod
    def open(cls, path: Path) -> "ArrayImages":
        """A .npy file, mapped and not read. Raises DataError where it is none, or holds no such images."""
        try:
            found = cls(np.load(path, mmap_mode="r", allow_pickle=False), description=f"array {path}")
        except DataError:
            raise
        except Exception as error:  # what numpy comes upon in a file that is something else
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path} cannot be read as an array of numbers ({reason}).") from error
        found.path = path
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """A mapped file by its path alone, so that workers map the same pages."""
        if self.path is not None:
            return ArrayImages.open, (self.path,)
        return ArrayImages, (self.pixels, self.labels, self.class_names, self.description)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        return with_channels(self.pixels[index], channels)

    def name(self, index: int) -> str:
        return f"image {index}"

    def channels(self, index: int) -> int:
        return self.pixels.shape[3]
