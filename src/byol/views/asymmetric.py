"""Views that differ between source (what the online network sees) and target; small crops; mixed and averaged views.

Designs of asym-siam (arXiv 2204.00613). Differs from the paper, whose two networks see the same two views.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from byol.runtime.copies import to_device
from byol.views.augment import distort, random_crop
from byol.views.parameters import ViewParameters, draw
from byol.views.policy import ViewPolicy
from byol.views.strong import rand_augment
from byol.views.two_views import TwoViews

Side = Literal["none", "source", "target", "both"]
MIXED_IN, BOX, AGAIN, SMALL = 32, 64, 2, 128
"""Added to a view's number (1 or 2), or counted from: which draws of a step belong to what."""


@dataclass(frozen=True)
class Asymmetry:
    """Settings of the differences between source and target."""

    small_crops: int = 0
    small_size: int = 96
    small_area: tuple[float, float] = (0.05, 0.14)
    scale_mix: Side = "none"
    weak: Side = "none"
    mean: Side = "none"
    strong: Side = "none"


@dataclass(frozen=True)
class _Draw:
    """One augmented view: which distribution, which draw, how large, whether RandAugment is part of it."""

    policy: ViewPolicy
    number: int
    size: int
    strong: bool = False


@dataclass(frozen=True)
class _View:
    """A draw, with a box of another draw of the same image in it where `mixed_in` is set."""

    draw: _Draw
    mixed_in: _Draw | None = None

    @property
    def draws(self) -> tuple[_Draw, ...]:
        return (self.draw,) if self.mixed_in is None else (self.draw, self.mixed_in)


@dataclass(frozen=True)
class AsymmetricViews:
    """Makes (view1, view2, others) of images, as a pure function of (seed, step, row of the global batch).

    `others` is what `methods.siamese.PairMethod.forward` takes: `sources1`, `targets1`, ..., `small`.
    """

    plain: TwoViews
    asymmetry: Asymmetry
    roles: dict[str, tuple[_View, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        roles = {}
        for view, policy in ((1, self.plain.policy1), (2, self.plain.policy2)):
            sources, targets = self._side(policy, view, "source"), self._side(policy, view, "target")
            roles[f"sources{view}"] = sources
            if targets != sources:
                roles[f"targets{view}"] = targets
        a = self.asymmetry
        small = dataclasses.replace(self.plain.policy1, crop_area=a.small_area)
        roles["small"] = tuple(_View(_Draw(small, SMALL + i, a.small_size)) for i in range(a.small_crops))
        object.__setattr__(self, "roles", roles)

    @property
    def size(self) -> int:
        """Side of all but the small views in pixels."""
        return self.plain.size

    def __call__(
        self, images: Tensor, step: int, first_row: int = 0
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, ...]]]:
        """(N, C, H, W) uint8 images in rows [first_row, first_row + N) -> float views in [0, 1]."""
        rows = slice(first_row, first_row + len(images))
        return self._views({d: self._crop(images, d, step, rows) for d in self._draws()}, step, rows)

    def finish(
        self, crops: Tensor, step: int, first_row: int = 0
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, ...]]]:
        """The same from (N, values) crops that `crop` made elsewhere."""
        draws = self._draws()
        channels = crops.shape[1] // sum(d.size**2 for d in draws)
        parts = crops.split([channels * d.size**2 for d in draws], dim=1)
        shaped = {d: p.reshape(len(crops), channels, d.size, d.size) for d, p in zip(draws, parts, strict=True)}
        return self._views(shaped, step, slice(first_row, first_row + len(crops)))

    def crop(self, image: np.ndarray, step: int, row: int) -> Tensor:
        """(values,) float32: all crops of one (H, W, C) uint8 image, one after the other; for a worker process."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        return torch.cat([self._crop(pixels, d, step, slice(row, row + 1)).flatten() for d in self._draws()])

    def _side(self, policy: ViewPolicy, number: int, side: Side) -> tuple[_View, ...]:
        a = self.asymmetry
        if a.weak in (side, "both"):
            policy = crop_and_flip(policy)
        mixed, strong = a.scale_mix in (side, "both"), a.strong in (side, "both")
        offset = AGAIN * (1 if side == "source" else 2)
        numbers = (number, number + offset) if a.mean in (side, "both") else (number,)

        def drawn(number: int) -> _Draw:
            return _Draw(policy, number, self.plain.size, strong)

        return tuple(_View(drawn(n), drawn(n + MIXED_IN) if mixed else None) for n in numbers)

    def _draws(self) -> tuple[_Draw, ...]:
        """Every draw once, in a fixed order."""
        return tuple(dict.fromkeys(d for views in self.roles.values() for view in views for d in view.draws))

    def _parameters(self, of: _Draw, step: int, rows: slice) -> ViewParameters:
        plain = self.plain
        return _draw_once(of.policy, plain.batch_size, plain.seed, step, of.number)[rows]

    def _crop(self, images: Tensor, of: _Draw, step: int, rows: slice) -> Tensor:
        plain = self.plain
        crops = random_crop(
            images, self._parameters(of, step, rows), of.size,
            semantics=plain.semantics, antialias=plain.antialias, kernels=plain.kernels,
        )  # fmt: skip
        if of.strong:
            chance = np.random.default_rng([plain.seed, step, of.number])
            return rand_augment(crops, chance.integers(2**32, size=plain.batch_size)[rows])
        return crops

    def _views(
        self, crops: dict[_Draw, Tensor], step: int, rows: slice
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, ...]]]:
        plain = self.plain
        made = {
            d: distort(
                c, self._parameters(d, step, rows), d.policy,
                semantics=plain.semantics, kernels=plain.kernels, channels_last=plain.channels_last,
            )
            for d, c in crops.items()
        }  # fmt: skip

        def view(of: _View) -> Tensor:
            if of.mixed_in is None:
                return made[of.draw]
            inside = boxes(plain.batch_size, plain.seed, step, of.draw.number + BOX, of.draw.size)[rows]
            return torch.where(to_device(inside[:, None], made[of.draw].device), made[of.mixed_in], made[of.draw])

        others = {name: tuple(view(v) for v in views) for name, views in self.roles.items()}
        (view1, *more1), (view2, *more2) = others.pop("sources1"), others.pop("sources2")
        others |= {name: tuple(more) for name, more in (("sources1", more1), ("sources2", more2)) if more}
        return view1, view2, others


def crop_and_flip(policy: ViewPolicy) -> ViewPolicy:
    """`policy` without colour, blur and solarize."""
    return dataclasses.replace(
        policy, jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0, solarize_probability=0.0
    )


def boxes(num_images: int, seed: int, step: int, number: int, size: int) -> Tensor:
    """(N, S, S) bool: a box of area 1 - lambda, lambda uniform, its centre uniform, cut off at the image (CutMix)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, (step << 8) + number]))
    share, row, column = torch.from_numpy(generator.random((num_images, 3))).unbind(1)
    half = (size * (1 - share).sqrt()).floor() / 2
    pixel = torch.arange(size) + 0.5

    def within(centre: Tensor) -> Tensor:
        return (pixel - size * centre[:, None]).abs() < half[:, None]

    return within(row)[:, :, None] & within(column)[:, None, :]


@lru_cache(maxsize=128)
def _draw_once(policy: ViewPolicy, batch_size: int, seed: int, step: int, number: int) -> ViewParameters:
    return draw(policy, batch_size, seed, step, view=number)
