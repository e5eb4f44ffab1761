"""The views that evaluation uses, without random draws: the centre of the image (BYOL appendix B), or all of it."""

import torch
from torch import Tensor

from byol.errors import DataError
from byol.views.geometry import INTEGERS, crop_resize, resize

CENTRE = 224 / 256
"""Side of the central square, as a fraction of the short side."""
ROUNDING = 1e-3
"""Largest distance of a float image's values from [0, 1]."""
LONGEST = 8
"""Largest long side of a whole view, in short sides. Longer images are squeezed to it."""


def centre_view(images: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: the central square of 7/8 of the short side, resized (bicubic).

    `images` are uint8, uint16, or floats in [0, 1]. If they and the views have at most 96 px, the square has the whole short
    side, because small images have no border to spare. Raises DataError for other values.
    """
    _check(images)
    height, width = images.shape[-2:]
    short = min(height, width)
    side = short if size <= 96 and short <= 96 else max(1, int(CENTRE * short))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    window = torch.tensor([[top, left, side, side]], device=images.device).expand(len(images), 4)
    return crop_resize(images, window, size, antialias=antialias)


def whole_view(images: Tensor, size: int, multiple: int, *, antialias: bool = False) -> Tensor:
    """(N, C, h, w) float32 in [0, 1]: whole images with a short side of about `size` px, both sides multiples of `multiple` (bicubic).

    `images` are uint8, uint16, or floats in [0, 1]. The aspect ratio is kept up to that rounding. Raises DataError for other values.
    """
    _check(images)
    height, width = images.shape[-2:]
    short = min(height, width)
    sides = (min(side / short, LONGEST) * size / multiple for side in (height, width))
    rows, columns = (multiple * max(1, round(side)) for side in sides)
    return resize(images, rows, columns, antialias=antialias)


def _check(images: Tensor) -> None:
    if images.dtype in INTEGERS:
        return
    if not images.is_floating_point():
        raise DataError(
            f"Images must be uint8 (0 to 255), uint16 (0 to 65535) or floats in [0, 1]; found {images.dtype}."
        )
    low, high = (float(extreme) for extreme in images.aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN, too
        raise DataError(
            f"Float images must be in [0, 1] and not normalised; found {low:.4g} to {high:.4g}. Divide by 255, or give uint8 or uint16."
        )
