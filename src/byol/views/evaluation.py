"""The view that evaluation sees: the centre of the image, resized; no chance in it (BYOL appendix B)."""

import torch
from torch import Tensor

from byol.views.geometry import crop_resize

CENTRE = 224 / 256


def centre_view(images: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: the central square of 7/8 of the short side, resized (bicubic).

    Images of at most 96 px are taken whole (their short side): nothing at their border is to spare.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    side = short if size <= 96 and short <= 96 else int(CENTRE * short)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    window = torch.tensor([[top, left, side, side]], device=images.device).expand(len(images), 4)
    return crop_resize(images, window, size, antialias=antialias)
