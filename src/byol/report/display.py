"""Images of any depth and number of channels as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.errors import DataError

PERCENTILES = (2, 98)
"""Percentiles of a channel's values that become black and white, where channels are stretched."""
MEASURED_SIDE = 512
"""Largest number of rows and columns of an image that are measured, evenly spread over it."""


@dataclass(frozen=True)
class Display:
    """Channels that are shown, and the values that become black and white."""

    channels: tuple[int, ...]
    """One channel, or those of red, green and blue, counted from 0."""
    black: NDArray[np.float32]
    """Value in [0, 1] that is shown as black, for each of `channels`, as is `white`."""
    white: NDArray[np.float32]
    words: str = ""
    """Description of what is shown; empty if images are shown as they are."""

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """The (H, W, 3) picture of (H, W, C) pixels: uint8, uint16, or float in [0, 1]."""
        picture = pixels[..., list(self.channels)]
        if self.words or picture.dtype != np.uint8:
            shown = (_in_unit(picture) - self.black) / (self.white - self.black)
            picture = (255 * shown.clip(0, 1)).round().astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def display(images: Sequence[NDArray[Any]], channels: Sequence[int] = ()) -> Display:
    """The display of (H, W, C) images, which are shown alike.

    8-bit images of one or three channels are shown as they are; others by the 2nd and 98th percentile of each channel
    over all images. `channels`: one or three channels to show, counted from 1; empty: the first three, or the first of
    one or two. Raises DataError if there are no such channels.
    """
    count = images[0].shape[2]
    places = tuple(channel - 1 for channel in channels) or (tuple(range(3)) if count >= 3 else (0,))
    if len(places) not in (1, 3) or not all(0 <= place < count for place in places):
        raise DataError(
            f"Shown channels must be one or three numbers from 1 to {count}; found {' '.join(map(str, channels))}."
        )
    if count in (1, 3) and all(image.dtype == np.uint8 for image in images) and places == tuple(range(count)):
        return Display(places, np.zeros(count, np.float32), np.ones(count, np.float32))
    values = np.concatenate([_in_unit(_spread(image)[..., list(places)]).reshape(-1, len(places)) for image in images])
    black, white = np.percentile(values, PERCENTILES, axis=0).astype(np.float32)
    names = ", ".join(str(place + 1) for place in places)
    colours = (
        f"channels {names} of {count} as red, green and blue" if len(places) == 3 else f"channel {names} of {count}"
    )
    return Display(
        places,
        black,
        np.where(white > black, white, black + 1),
        f"{colours}, from the 2nd percentile of these images (black) to the 98th (white)",
    )


def _in_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1)


def _spread(pixels: NDArray[Any]) -> NDArray[Any]:
    """Rows and columns evenly spread over an image, at most MEASURED_SIDE each."""
    return pixels[:: -(-pixels.shape[0] // MEASURED_SIDE), :: -(-pixels.shape[1] // MEASURED_SIDE)]
