"""The two views of every image of a step, and nothing else to decide: bound to policies, size and seed."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.views.augment import augment, distort, random_crop
from byol.views.parameters import ViewParameters, draw, joined
from byol.views.policy import Semantics, ViewKernels, ViewPolicy


@dataclass(frozen=True)
class TwoViews:
    """Makes (view1, view2) of images, as a pure function of (seed, step, row of the global batch)."""

    policy1: ViewPolicy
    policy2: ViewPolicy
    size: int
    batch_size: int
    seed: int
    semantics: Semantics = "deepmind"
    antialias: bool = False
    kernels: ViewKernels = "native"
    channels_last: bool = False
    """The memory layout of the views."""

    def __call__(self, images: Tensor, step: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) uint8 images in rows [first_row, first_row + N) -> two (N, C, S, S) float views in [0, 1]."""
        first, second = self.parameters(step, first_row, len(images))
        return self._view(images, first, self.policy1), self._view(images, second, self.policy2)

    def finish(self, crops: Tensor, step: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
        """The same from (N, 2, C, S, S) crops that `crop` made elsewhere."""
        first, second = self.parameters(step, first_row, len(crops))
        return self._distorted(crops[:, 0], first, self.policy1), self._distorted(crops[:, 1], second, self.policy2)

    def crop(self, image: NDArray[np.uint8], step: int, row: int) -> Tensor:
        """(2, C, S, S) float32: both crops of one (H, W, C) uint8 image; what a worker process does."""
        pixels = torch.from_numpy(image).permute(2, 0, 1).expand(2, -1, -1, -1)
        return random_crop(
            pixels, _draw_step(self, step)[row :: self.batch_size], self.size,
            semantics=self.semantics, antialias=self.antialias, kernels=self.kernels,
        )  # fmt: skip

    def parameters(self, step: int, first_row: int, num_images: int) -> tuple[ViewParameters, ViewParameters]:
        """Both views' parameters for some rows of the global batch."""
        both, second_row = _draw_step(self, step), self.batch_size + first_row
        return both[first_row : first_row + num_images], both[second_row : second_row + num_images]

    def _view(self, images: Tensor, parameters: ViewParameters, policy: ViewPolicy) -> Tensor:
        return augment(
            images, parameters, policy, self.size, semantics=self.semantics, antialias=self.antialias,
            kernels=self.kernels, channels_last=self.channels_last,
        )  # fmt: skip

    def _distorted(self, crops: Tensor, parameters: ViewParameters, policy: ViewPolicy) -> Tensor:
        return distort(
            crops, parameters, policy,
            semantics=self.semantics, kernels=self.kernels, channels_last=self.channels_last,
        )  # fmt: skip


@lru_cache(maxsize=8)
def _draw_step(views: TwoViews, step: int) -> ViewParameters:
    """Parameters of all images' first views, followed by those of their second views."""
    return joined([
        draw(policy, views.batch_size, views.seed, step, view)
        for view, policy in ((1, views.policy1), (2, views.policy2))
    ])  # fmt: skip
