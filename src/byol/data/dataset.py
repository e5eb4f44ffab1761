"""Any `torch.utils.data.Dataset` as a source."""

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.ExifTags import Base

from byol.data.decode import GREY_MODES, pillow_pixels
from byol.data.source import Image, with_channels
from byol.errors import BrokenImageError, DataError


class DatasetImages:
    """The items of a map-style data set: an image, or a tuple that starts with one (labels are not read).

    An image is a PIL image, a (H, W) or (H, W, C) uint8 array, or a (C, H, W) uint8 tensor. Whatever an item raises
    counts as a broken image. Items are asked for one at a time, since a data set need not bear several threads.
    """

    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None

    def __init__(self, dataset: Any, description: str = "data set") -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(f"{type(dataset).__name__} has no length or no items by number: it cannot be trained on.")
        self.dataset = dataset
        self.description = f"{description} {type(dataset).__name__}"
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        return with_channels(self._pixels(index), channels)

    def name(self, index: int) -> str:
        return f"item {index}"

    def channels(self, index: int) -> int:
        return self._pixels(index).shape[2]

    def _pixels(self, index: int) -> Image:
        try:
            with self.lock:
                item = self.dataset[index]
            image = item[0] if isinstance(item, tuple | list) else item
            if isinstance(image, torch.Tensor):
                image = image.permute(1, 2, 0).numpy() if image.dim() == 3 else image.numpy()
            elif isinstance(image, PillowImage.Image):  # perhaps not decoded before now
                if image.getexif().get(Base.Orientation, 1) != 1:
                    image = ImageOps.exif_transpose(image)  # a copy: the data set may keep its own
                image = pillow_pixels(image, grey=image.mode in GREY_MODES)
            pixels = np.asarray(image)
        except BrokenImageError:
            raise
        except Exception as error:
            raise BrokenImageError(f"{type(error).__name__}: {error}") from error
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise BrokenImageError(f"it is {pixels.dtype} of shape {pixels.shape}, not uint8 pixels")
        return pixels if pixels.ndim == 3 else pixels[..., None]
