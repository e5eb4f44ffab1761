"""The two views of every image of a step, and nothing else to decide: bound to policies, size and seed."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from byol.views.augment import distort, random_crop
from byol.views.parameters import ViewParameters, draw
from byol.views.policy import Semantics, ViewPolicy


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

    def __call__(self, images: Tensor, step: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) uint8 images in rows [first_row, first_row + N) -> two (N, C, S, S) float views in [0, 1]."""
        first, second = (p.to(images.device) for p in self.parameters(step, first_row, len(images)))
        crop1 = random_crop(images, first, self.size, semantics=self.semantics, antialias=self.antialias)
        crop2 = random_crop(images, second, self.size, semantics=self.semantics, antialias=self.antialias)
        return self._distort(crop1, crop2, first, second)

    def finish(self, crops: Tensor, step: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
        """The same from (N, 2, C, S, S) crops that `crop` made elsewhere."""
        first, second = (p.to(crops.device) for p in self.parameters(step, first_row, len(crops)))
        return self._distort(crops[:, 0], crops[:, 1], first, second)

    def crop(self, image, step: int, row: int) -> Tensor:
        """(2, C, S, S) float32: both crops of one (H, W, C) uint8 image; what a worker process does."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        return torch.cat(
            [
                random_crop(pixels, p, self.size, semantics=self.semantics, antialias=self.antialias)
                for p in self.parameters(step, row, 1)
            ]
        )

    def parameters(self, step: int, first_row: int, num_images: int) -> tuple[ViewParameters, ViewParameters]:
        """Both views' parameters for some rows of the global batch."""
        rows = slice(first_row, first_row + num_images)
        first, second = _draw_step(self, step)
        return first[rows], second[rows]

    def _distort(
        self, crop1: Tensor, crop2: Tensor, first: ViewParameters, second: ViewParameters
    ) -> tuple[Tensor, Tensor]:
        view1 = distort(crop1, first, self.policy1, semantics=self.semantics)
        return view1, distort(crop2, second, self.policy2, semantics=self.semantics)


@lru_cache(maxsize=8)
def _draw_step(views: TwoViews, step: int) -> tuple[ViewParameters, ViewParameters]:
    return (
        draw(views.policy1, views.batch_size, views.seed, step, view=1),
        draw(views.policy2, views.batch_size, views.seed, step, view=2),
    )
