"""Any `torch.utils.data.Dataset` as a source."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from byol.data.source import Image
from byol.errors import BrokenImageError, DataError


class DatasetImages:
    """The items of a map-style data set: an image, or a tuple that starts with one (labels are not read).

    An image is a PIL image, a (H, W) or (H, W, C) uint8 array, or a (C, H, W) uint8 tensor. Whatever an item raises
    counts as a broken image.
    """

    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None

    def __init__(self, dataset: Any, description: str = "data set") -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(f"{type(dataset).__name__} has no length or no items by number: it cannot be trained on.")
        self.dataset = dataset
        self.description = f"{description} {type(dataset).__name__}"

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        pixels = self._pixels(index)
        if pixels.shape[2] == channels:
            return pixels
        if pixels.shape[2] == 1:
            return np.repeat(pixels, channels, axis=2)
        raise BrokenImageError(f"it has {pixels.shape[2]} channels where {channels} were expected")

    def name(self, index: int) -> str:
        return f"item {index}"

    def channels(self, index: int) -> int:
        return self._pixels(index).shape[2]

    def _pixels(self, index: int) -> Image:
        try:
            item = self.dataset[index]
        except Exception as error:
            raise BrokenImageError(f"{type(error).__name__}: {error}") from error
        image = item[0] if isinstance(item, tuple | list) else item
        if isinstance(image, torch.Tensor):
            image = image.permute(1, 2, 0).numpy() if image.dim() == 3 else image.numpy()
        elif hasattr(image, "convert"):
            image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise BrokenImageError(f"it is {pixels.dtype} of shape {pixels.shape}, not uint8 pixels")
        return pixels if pixels.ndim == 3 else pixels[..., None]
