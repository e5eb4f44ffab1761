"""A source that reads from any map-style `torch.utils.data.Dataset`."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.ExifTags import Base

from byol.data.decode import DEEP_MODES, GREY_MODES, pillow_pixels
from byol.data.layout import as_picture
from byol.data.number_format import OneFormat
from byol.data.source import Image, with_channels
from byol.errors import BrokenImageError, DataError

IMAGE_KEYS = ("image", "img", "pixel_values", "picture", "photo")
"""Keys of the image in items that are dicts, in the order of preference."""
SAMPLED_ITEMS = 32
"""Number of items whose pixels enter the fingerprint of the data set."""


class DatasetImages(OneFormat):
    """Images of a map-style data set. An item is an image, a tuple that starts with one, or a dict with one; labels are not read.

    An image is a PIL image, a (H, W) or (H, W, C) array, or a (C, H, W) tensor. An item that raises an
    exception counts as a broken image. Items are read one at a time, since a data set need not be thread-safe.
    """

    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None
    notes: Sequence[str] = ()
    label_notes: Sequence[str] = ()
    unlabelled: str = ""
    most_fingerprinted: int | None = SAMPLED_ITEMS

    def __init__(self, dataset: Any, description: str = "data set", layout: str = "") -> None:
        if isinstance(dataset, torch.utils.data.DataLoader):
            raise DataError("A DataLoader gives batches: give its data set, loader.dataset.")
        if isinstance(dataset, torch.utils.data.IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise DataError(
                f"{type(dataset).__name__} has no length or no items by number: it cannot be trained on. Give a list of its "
                f"images, an array, or a data set with __len__ and __getitem__."
            )
        self.dataset = dataset
        self.layout = layout
        self.description = f"{description} {type(dataset).__name__}"
        self.lock = threading.Lock()
        self.fixed: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.Lock())

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        return with_channels(self._pixels(index), channels)

    def name(self, index: int) -> str:
        return f"item {index}"

    def channels(self, index: int) -> int:
        image = self._image(index)
        if isinstance(image, PillowImage.Image):
            return 1 if image.mode in GREY_MODES else 3
        return self._pixels(index).shape[2]

    def deep(self, index: int) -> tuple[NDArray[Any], float] | None:
        image = self._image(index)
        if isinstance(image, PillowImage.Image):
            return (np.asarray(image), 0.0) if image.mode in DEEP_MODES else None
        values = self._picture(image)
        return None if values.dtype == np.uint8 else (values, 0.0)

    def stored(self, index: int) -> bytes:
        """The pixels of the item; empty if the data set gives random images."""
        return self._pixels(index).tobytes() if self._is_fixed() else b""

    def stamp(self, index: int) -> bytes:
        """The pixels of the item."""
        return self._pixels(index).tobytes()

    def _is_fixed(self) -> bool:
        """Whether every read of an item gives the same pixels, judged by a sample of items."""
        if self.fixed is None:
            sample = np.random.default_rng(0).permutation(len(self))[:SAMPLED_ITEMS]
            self.fixed = all(self._same_twice(int(index)) for index in sample)
        return self.fixed

    def _same_twice(self, index: int) -> bool:
        try:
            return np.array_equal(self._pixels(index), self._pixels(index))
        except BrokenImageError:
            return True

    def _image(self, index: int) -> Any:
        """The image of an item, as the data set gives it."""
        try:
            with self.lock:
                item = self.dataset[index]
        except Exception as error:
            raise BrokenImageError(f"{type(error).__name__}: {error}") from error
        image = _named(item) if isinstance(item, dict) else item[0] if isinstance(item, tuple | list) and item else item
        if not isinstance(image, PillowImage.Image | torch.Tensor | np.ndarray):
            raise BrokenImageError(
                f"it is {type(image).__name__}, not an image: items are an image, a tuple that starts with one, or a dict "
                f"with one ({', '.join(IMAGE_KEYS)})"
            )
        return image

    def _picture(self, image: Any) -> NDArray[Any]:
        try:
            return as_picture(image, self.layout)
        except DataError as error:
            raise BrokenImageError(str(error).rstrip(".")) from error

    def _pixels(self, index: int) -> Image:
        image = self._image(index)
        try:
            if not isinstance(image, PillowImage.Image):
                values = self._picture(image)
                return values if values.dtype == np.uint8 else self.number_format().as_pixels(values)
            if image.getexif().get(Base.Orientation, 1) != 1:  # this may be what decodes the image
                image = ImageOps.exif_transpose(image)  # a copy: the data set may keep its own
            return pillow_pixels(image, grey=image.mode in GREY_MODES, number_format=self.number_format)
        except BrokenImageError:
            raise
        except Exception as error:
            raise BrokenImageError(f"{type(error).__name__}: {error}") from error


def _named(item: dict[str, Any]) -> Any:
    """The image in a dict. Raises BrokenImageError if there is none, or if it is not clear which one is meant."""
    for key in IMAGE_KEYS:
        if item.get(key) is not None:
            return item[key]
    pictures = [value for value in item.values() if isinstance(value, PillowImage.Image)]
    if len(pictures) == 1:
        return pictures[0]
    raise BrokenImageError(
        f"it is a dict of {', '.join(map(str, item)) or 'nothing'}; the image is looked for under {', '.join(IMAGE_KEYS)}"
    )
