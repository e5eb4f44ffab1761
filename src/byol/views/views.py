"""The views of a step's images, by role: bound to distributions, sizes and a seed, with nothing else to decide."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.runtime.copies import to_device
from byol.runtime.view_roles import Roles, ViewBatch
from byol.views.augment import augment, distort, random_crop
from byol.views.parameters import ViewParameters, draw, joined
from byol.views.policy import Semantics, ViewKernels, ViewPolicy
from byol.views.strong import rand_augment

BOX = 64
"""Number of a mixed view's box, counted from the number of the view."""


@dataclass(frozen=True)
class Draw:
    """One augmented view: its distribution, the number of its draw in the step, its side in pixels."""

    policy: ViewPolicy
    number: int
    size: int
    strong: bool = False
    """Whether RandAugment follows the crop."""
    of_partner: bool = False
    """Whether the view is of the partner where images come in pairs (`views.pairs`)."""


@dataclass(frozen=True)
class View:
    """A draw; with `mixed_in`, a box of another draw of the same image replaces a part of it (ScaleMix)."""

    draw: Draw
    mixed_in: Draw | None = None

    @property
    def draws(self) -> tuple[Draw, ...]:
        return (self.draw,) if self.mixed_in is None else (self.draw, self.mixed_in)


def pair(policy1: ViewPolicy, policy2: ViewPolicy, size: int) -> Roles[View]:
    """Views 1 and 2 of `size` pixels, which source and target both see: the paper's."""
    return Roles((View(Draw(policy1, 1, size)),), (View(Draw(policy2, 2, size, of_partner=True)),))


def single(policy: ViewPolicy, size: int) -> Roles[View]:
    """One view of `size` pixels, for training on labels."""
    return Roles((View(Draw(policy, 1, size)),))


@dataclass(frozen=True)
class Views:
    """Makes the views of images, as a pure function of (seed, step, row of the global batch)."""

    roles: Roles[View]
    batch_size: int
    seed: int
    semantics: Semantics = "deepmind"
    antialias: bool = False
    kernels: ViewKernels = "native"
    channels_last: bool = False
    """Memory layout of the views."""

    @property
    def size(self) -> int:
        """Side of all but the small views, in pixels."""
        return self.roles.view1.draw.size

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """Every draw once, in the order of the roles."""
        return tuple(dict.fromkeys(d for view in self.roles for d in view.draws))

    def __call__(self, images: Tensor, step: int, first_row: int = 0, partners: Tensor | None = None) -> ViewBatch:
        """Views of (N, C, H, W) uint8 or uint16 images in rows [first_row, first_row + N).

        `partners`: (N, C, H, W) images that the second view and every other small view are of. None: the images themselves.
        """
        rows = slice(first_row, first_row + len(images))
        seconds = images if partners is None else partners
        views = {d: self._augmented(seconds if d.of_partner else images, d, step, rows) for d in self.draws}
        return self._by_role(views, step, rows)

    def finish(self, crops: Tensor, step: int, first_row: int = 0) -> ViewBatch:
        """Views from (N, values) crops that `crop` made elsewhere."""
        rows = slice(first_row, first_row + len(crops))
        channels = crops.shape[1] // sum(d.size**2 for d in self.draws)
        parts = crops.split([channels * d.size**2 for d in self.draws], dim=1)
        views = {}
        for d, part in zip(self.draws, parts, strict=True):
            views[d] = self._distorted(part.unflatten(1, (channels, d.size, d.size)), d, step, rows)
        return self._by_role(views, step, rows)

    def crop(
        self,
        image: NDArray[np.uint8 | np.uint16],
        step: int,
        row: int,
        partner: NDArray[np.uint8 | np.uint16] | None = None,
    ) -> Tensor:
        """(values,) float32: the crops of all draws of one (H, W, C) image, and of its partner if any, for a worker process."""
        first = _channels_first(image)
        second = first if partner is None else _channels_first(partner)
        parameters = _draw_step(self, step)[row :: self.batch_size]
        is_pair = len(self.draws) == 2 and partner is None and not any(d.strong for d in self.draws)
        together = 2 if is_pair else 1
        crops = []
        for number in range(0, len(self.draws), together):
            d, rows = self.draws[number], slice(number, number + together)
            pixels = second if d.of_partner else first
            crop = random_crop(
                pixels.expand(together, -1, -1, -1), parameters[rows], d.size,
                semantics=self.semantics, antialias=self.antialias, kernels=self.kernels,
            )  # fmt: skip
            crops.append(self._strengthened(crop, d, step, slice(row, row + 1)) if d.strong else crop)
        return torch.cat([crop.flatten() for crop in crops])

    def parameters(self, draw: Draw, step: int, rows: slice) -> ViewParameters:
        """Parameters of a draw for some rows of the global batch."""
        first = self.draws.index(draw) * self.batch_size
        return _draw_step(self, step)[first + rows.start : first + rows.stop]

    def _augmented(self, images: Tensor, draw: Draw, step: int, rows: slice) -> Tensor:
        parameters = self.parameters(draw, step, rows)
        if not draw.strong:
            return augment(
                images, parameters, draw.policy, draw.size, semantics=self.semantics, antialias=self.antialias,
                kernels=self.kernels, channels_last=self.channels_last,
            )  # fmt: skip
        crops = random_crop(
            images, parameters, draw.size,
            semantics=self.semantics, antialias=self.antialias, kernels=self.kernels,
        )  # fmt: skip
        return self._distorted(self._strengthened(crops, draw, step, rows), draw, step, rows)

    def _distorted(self, crops: Tensor, draw: Draw, step: int, rows: slice) -> Tensor:
        return distort(
            crops, self.parameters(draw, step, rows), draw.policy,
            semantics=self.semantics, kernels=self.kernels, channels_last=self.channels_last,
        )  # fmt: skip

    def _strengthened(self, crops: Tensor, draw: Draw, step: int, rows: slice) -> Tensor:
        generator = np.random.default_rng([self.seed, step, draw.number])
        return rand_augment(crops, generator.integers(2**32, size=self.batch_size)[rows])

    def _by_role(self, views: Mapping[Draw, Tensor], step: int, rows: slice) -> ViewBatch:
        def view(plan: View) -> Tensor:
            plain = views[plan.draw]
            if plan.mixed_in is None:
                return plain
            inside = boxes(self.batch_size, self.seed, step, plan.draw.number + BOX, plan.draw.size)[rows]
            return torch.where(to_device(inside[:, None], plain.device), views[plan.mixed_in], plain)

        return self.roles.map(view)


def _channels_first(image: NDArray[np.uint8 | np.uint16]) -> Tensor:
    """(C, H, W) pixels of an (H, W, C) image."""
    return torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1)


def boxes(num_images: int, seed: int, step: int, number: int, size: int) -> Tensor:
    """(N, S, S) bool: boxes of area 1 - lambda, lambda uniform, centre uniform, cut off at the border (CutMix)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, (step << 8) + number]))
    share, row, column = torch.from_numpy(generator.random((num_images, 3))).unbind(1)
    half = (size * (1 - share).sqrt()).floor() / 2
    pixel = torch.arange(size) + 0.5

    def within(centre: Tensor) -> Tensor:
        return (pixel - size * centre[:, None]).abs() < half[:, None]

    return within(row)[:, :, None] & within(column)[:, None, :]


@lru_cache(maxsize=8)
def _draw_step(views: Views, step: int) -> ViewParameters:
    """Parameters of all images for the first draw, followed by those for the second, and so on."""
    draws = ((d.policy, views.batch_size, views.seed, step, d.number) for d in views.draws)
    return joined([draw(*arguments) for arguments in draws])
