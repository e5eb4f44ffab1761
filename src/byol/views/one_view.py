"""One random view of every image of a step, for training on labels: the paper's is crop and flip alone (appendix C)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from byol.views.asymmetric import crop_and_flip
from byol.views.augment import distort, random_crop
from byol.views.parameters import ViewParameters, draw
from byol.views.policy import Semantics, ViewPolicy

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

    def __call__(self, images: Tensor, step: int, first_row: int = 0) -> Tensor:
        """(N, C, H, W) uint8 images -> (N, C, S, S) float views in [0, 1]."""
        parameters = self._parameters(step, slice(first_row, first_row + len(images))).to(images.device)
        crops = random_crop(images, parameters, self.size, semantics=self.semantics, antialias=self.antialias)
        return distort(crops, parameters, self.policy, semantics=self.semantics)

    def finish(self, crops: Tensor, step: int, first_row: int = 0) -> Tensor:
        """The same from (N, C, S, S) crops that `crop` made elsewhere."""
        parameters = self._parameters(step, slice(first_row, first_row + len(crops))).to(crops.device)
        return distort(crops, parameters, self.policy, semantics=self.semantics)

    def crop(self, image: np.ndarray, step: int, row: int) -> Tensor:
        """(C, S, S) float32 crop of one (H, W, C) uint8 image; what a worker process does."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        parameters = self._parameters(step, slice(row, row + 1))
        return random_crop(pixels, parameters, self.size, semantics=self.semantics, antialias=self.antialias)[0]

    def _parameters(self, step: int, rows: slice) -> ViewParameters:
        return draw(self.policy, self.batch_size, self.seed, step, view=1)[rows]
