"""RandAugment by timm, as a pure function of a number per image: asym-siam's stronger views of the source.

Differs from the paper, whose views have crop, flip, colour, blur and solarize alone.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

POLICY = "rand-m10-n2-mstd0.5"
"""Two of timm's 15 operations on each image, each left out half the time, of magnitude 10 +- 0.5 (at most 10) of 10."""


def rand_augment(crops: Tensor, numbers: NDArray[np.int64]) -> Tensor:
    """(N, 3, S, S) crops in [0, 1] -> the same augmented, in 8 bits, image by image on the CPU.

    `numbers`: (N,) below 2**32, each image's only chance.
    """
    augment = _by_timm()
    made = np.empty((len(crops), *crops.shape[2:], 3), np.uint8)
    pixels = (crops * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    for row, number in enumerate(numbers):
        with _chance_of(int(number)):
            made[row] = np.asarray(augment(Image.fromarray(pixels[row])))
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(crops.device).to(crops.dtype) / 255


@lru_cache(maxsize=1)
def _by_timm() -> Callable[[Image.Image], Image.Image]:
    from timm.data.auto_augment import rand_augment_transform

    return rand_augment_transform(POLICY)


@contextmanager
def _chance_of(number: int) -> Iterator[None]:
    """timm draws from the generators that everybody shares: they are started from `number` and put back."""
    before, numpys = random.getstate(), np.random.get_state()
    random.seed(number)
    np.random.seed(number)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpys)
