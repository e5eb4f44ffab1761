"""timm's RandAugment as a pure function of one number per image: asym-siam's stronger views of the source.

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
"""Two of timm's 15 operations per image, each applied half the time, of magnitude 10 +- 0.5 (at most 10) of 10."""


def rand_augment(crops: Tensor, numbers: NDArray[np.int64]) -> Tensor:
    """Augmented (N, 3, S, S) crops in [0, 1], rounded to 8 bits; computed image by image on the CPU.

    `numbers`: (N,) below 2**32, the seed of each image.
    """
    augment = _by_timm()
    augmented = np.empty((len(crops), *crops.shape[2:], 3), np.uint8)
    pixels = (crops * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    for row, number in enumerate(numbers):
        with _seeded_by(int(number)):
            augmented[row] = np.asarray(augment(Image.fromarray(pixels[row])))
    return torch.from_numpy(augmented).permute(0, 3, 1, 2).to(crops.device).to(crops.dtype) / 255


@lru_cache(maxsize=1)
def _by_timm() -> Callable[[Image.Image], Image.Image]:
    from timm.data.auto_augment import rand_augment_transform

    return rand_augment_transform(POLICY, {})  # some versions of timm need a dictionary


@contextmanager
def _seeded_by(number: int) -> Iterator[None]:
    """Seeds Python's and NumPy's global generators, from which timm draws, with `number`; restores them at exit."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(number)
    np.random.seed(number)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
