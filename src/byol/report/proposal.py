"""The recipe whose views suit the images, from what the images are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from byol.data.source import Image, ImageSource
from byol.errors import BrokenImageError
from byol.report.tile import tile
from byol.runtime.words import counted

LOOKED_AT, FEWEST = 256, 64
"""Largest and smallest number of RGB images from which it is told whether they are pictures from above."""
SIDE = 64
"""Side in pixels to which these images are shrunk."""
MOST_EFFECT = 0.3
"""Largest mean, in standard deviations, of a picture's middle being busier and of its top being brighter, for pictures from above.
Photographs have 0.6 to 1.1 and 0.1 to 0.6, aerial scenes -0.2 and 0.0 (docs/decisions.md)."""

LEAST_SPREAD = 0.1
"""Smallest standard deviation over images that is divided by: in pictures of one texture throughout nothing is far from nothing."""


@dataclass(frozen=True)
class Proposal:
    """A recipe, and the property of the images for which it is proposed."""

    recipe: str
    reason: str


def proposal(source: ImageSource, channels: int) -> Proposal | None:
    """The recipe for images that are not photographs: `scan` for one channel, `satellite` for several that are not RGB and for
    pictures from above.

    None if the images are like photographs, or too few to tell.
    """
    if channels == 1:
        return Proposal("scan", "the images have 1 channel")
    if channels != 3:
        return Proposal("satellite", f"the images have {counted(channels, 'channel')}")
    measured = []
    for index in np.random.default_rng(0).permutation(len(source))[:LOOKED_AT].tolist():
        try:
            measured.append(middle_and_top(source.read(index, channels, SIDE)))
        except BrokenImageError:
            continue
    if len(measured) < FEWEST:
        return None
    effects = np.mean(measured, axis=0) / np.std(measured, axis=0).clip(LEAST_SPREAD)
    middle, top = effects.tolist()
    if max(middle, abs(top)) > MOST_EFFECT:
        return None
    reason = f"{len(measured)} images have neither a subject in the middle nor an up, as pictures from above"
    return Proposal("satellite", reason)


def middle_and_top(image: Image) -> NDArray[np.float64]:
    """How much busier the middle of an (H, W, C) image is than its border, in logarithms of the gradient, and how much brighter its
    upper half is than its lower, in standard deviations."""
    high, wide = image.shape[:2]
    side = min(high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    grey = tile(image[top : top + side, left : left + side], SIDE).mean(axis=2) / 255
    busy = np.log(np.hypot(np.diff(grey, axis=0)[:, 1:], np.diff(grey, axis=1)[1:]) + 0.01)
    quarter, middle = SIDE // 4, np.zeros(busy.shape, bool)
    middle[quarter:-quarter, quarter:-quarter] = True
    brighter = (grey[: SIDE // 2].mean() - grey[SIDE // 2 :].mean()) / (grey.std() + 1e-3)
    return np.array([busy[middle].mean() - busy[~middle].mean(), brighter])
