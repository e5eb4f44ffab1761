"""One random view of every image of a step, for training on labels: the paper's is crop and flip alone (appendix C)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.views.asymmetric import crop_and_flip
from byol.views.augment import augment, distort, random_crop
from byol.views.parameters import ViewParameters, draw
from byol.views.policy import Semantics, ViewKernels, ViewPolicy

CROP_AND_FLIP = crop_and_flip(ViewPolicy())


@dataclass(frozen=True)
class OneView:
    """Makes a view of images, as a pure function of (seed, step, row of the batch)."""

    policy: ViewPolicy
    size: int
    batch_size: int
    seed: int
    semantics: Semantics = "deepmind"
    antialias: bool = False
    kernels: ViewKernels = "native"
    channels_last: bool = False
    """The memory layout of the views."""

    def __call__(self, images: Tensor, step: int, first_row: int = 0) -> Tensor:
        """(N, C, H, W) uint8 images -> (N, C, S, S) float views in [0, 1]."""
        return augment(
            images, self._parameters(step, slice(first_row, first_row + len(images))), self.policy, self.size,
            semantics=self.semantics, antialias=self.antialias, kernels=self.kernels, channels_last=self.channels_last,
        )  # fmt: skip

    def finish(self, crops: Tensor, step: int, first_row: int = 0) -> Tensor:
        """The same from (N, C, S, S) crops that `crop` made elsewhere."""
        return distort(
            crops, self._parameters(step, slice(first_row, first_row + len(crops))), self.policy,
            semantics=self.semantics, kernels=self.kernels, channels_last=self.channels_last,
        )  # fmt: skip

    def crop(self, image: NDArray[np.uint8], step: int, row: int) -> Tensor:
        """(C, S, S) float32 crop of one (H, W, C) uint8 image; what a worker process does."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        return random_crop(
            pixels, self._parameters(step, slice(row, row + 1)), self.size,
            semantics=self.semantics, antialias=self.antialias, kernels=self.kernels,
        )[0]  # fmt: skip

    def _parameters(self, step: int, rows: slice) -> ViewParameters:
        return draw(self.policy, self.batch_size, self.seed, step, view=1)[rows]
