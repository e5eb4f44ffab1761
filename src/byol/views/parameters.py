"""Random parameters of a step's views, drawn on the CPU as a pure function of (seed, step, view).

Row i depends only on (seed, step, view, i), so slicing for a rank, micro-batch or worker changes no view.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from byol.views.policy import ViewPolicy

CROP_TRIES = 10
"""Crop windows drawn per view, as in torchvision; DeepMind's semantics use only the first."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
COLOR_OPERATIONS = ("brightness", "contrast", "saturation", "hue")
"""Names of the operations by their number."""
FURTHER = {
    "vertical_flip": ("vertical_flip",),
    "rotation": ("rotation", "quarter_turns"),
    "band_jitter": ("band_jitter", "band_jitter_seed"),
    "band_drop": ("band_drop_seed",),
    "noise": ("noise", "noise_sigma", "noise_seed"),
}
"""Draws of operations that the paper does not have, by operation. Where its probability is 0 they are left out."""
SCALARS = (
    *("flip", "jitter", "brightness", "contrast", "saturation", "hue"),
    *("grayscale", "blur", "sigma", "solarize"),
    *(name for names in FURTHER.values() for name in names),
)
"""Draws of one number per image, in the order of their columns. Append new ones: a seed then keeps its views."""
FIRST_STREAM = 2 * CROP_TRIES + 16
"""Columns that come from one stream of random numbers; each later column has a stream of its own."""
SEEDS = 2**24
"""Number of different seeds of an image's noise and bands: each is exact in float32."""


@dataclass(frozen=True)
class ViewParameters:
    """Parameters of one view of N images; row i belongs to image i. All are float32 unless noted."""

    area: Tensor
    """(N, CROP_TRIES) area of the crop as a fraction of the image's."""
    log_aspect: Tensor
    """(N, CROP_TRIES) logarithm of width / height."""
    aspect_range: Tensor
    """(N, 2) float64: smallest and largest width / height that can be drawn."""
    offset: Tensor
    """(N, 2) position of the crop among the possible ones, (vertical, horizontal), each in [0, 1)."""
    flip: Tensor
    """(N,) bool: whether the view is mirrored left to right."""
    jitter: Tensor
    """(N,) bool: whether the four colour operations apply."""
    order: Tensor
    """(N, 4) int64: the colour operations in the order they apply."""
    brightness: Tensor
    """(N,) signed change in [-max, max], as are contrast, saturation and hue."""
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    grayscale: Tensor
    """(N,) bool: whether the view is grey."""
    blur: Tensor
    """(N,) bool: whether the view is blurred."""
    sigma: Tensor
    """(N,) standard deviation of the blur in pixels."""
    solarize: Tensor
    """(N,) bool: whether the view is solarized."""
    vertical_flip: Tensor
    """(N,) bool: whether the view is mirrored top to bottom, after `flip`."""
    quarter_turns: Tensor
    """(N,) int64, 0 to 3: rotations by 90 degrees, counter-clockwise, after the flips."""
    band_jitter: Tensor
    """(N,) bool: whether gain and offset of each channel change."""
    band_jitter_seed: Tensor
    """(N,) int64 in [0, SEEDS): seed of the changes (`sensor.uniform`), as are band_drop_seed and noise_seed for theirs."""
    band_drop_seed: Tensor
    noise: Tensor
    """(N,) bool: whether the view has noise."""
    noise_sigma: Tensor
    """(N,) standard deviation of the noise."""
    noise_seed: Tensor

    def __len__(self) -> int:
        return self.flip.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "ViewParameters":
        """The parameters of some of the images."""
        return ViewParameters(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def joined(parts: list[ViewParameters]) -> ViewParameters:
    """Parameters of all parts' images, in the order of the parts."""
    return ViewParameters(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(ViewParameters)})


def draw(policy: ViewPolicy, num_images: int, seed: int, step: int, view: int) -> ViewParameters:
    """Parameters of view number `view` of the `num_images` images of global step `step` (BYOL Table 6)."""
    unused = [name for of, names in FURTHER.items() if not getattr(policy, f"{of}_probability") for name in names]
    left_out = [2 * CROP_TRIES + 6 + SCALARS.index(name) for name in unused]
    uniform = uniform_columns(2 * CROP_TRIES + 6 + len(SCALARS), num_images, seed, step, view, left_out)
    area, aspect, offset, order, scalars = uniform.split([CROP_TRIES, CROP_TRIES, 2, 4, len(SCALARS)], dim=1)
    drawn = dict(zip(SCALARS, scalars.unbind(1), strict=True))
    log_low, log_high = math.log(policy.crop_aspect[0]), math.log(policy.crop_aspect[1])
    return ViewParameters(
        area=_between(area, *policy.crop_area),
        log_aspect=_between(aspect, log_low, log_high),
        aspect_range=torch.tensor(policy.crop_aspect, dtype=torch.float64).expand(num_images, 2),
        offset=_below_one(offset),
        flip=drawn["flip"] < policy.flip_probability,
        jitter=drawn["jitter"] < policy.jitter_probability,
        order=order.argsort(dim=1),
        brightness=_between(drawn["brightness"], -policy.brightness, policy.brightness),
        contrast=_between(drawn["contrast"], -policy.contrast, policy.contrast),
        saturation=_between(drawn["saturation"], -policy.saturation, policy.saturation),
        hue=_between(drawn["hue"], -policy.hue, policy.hue),
        grayscale=drawn["grayscale"] < policy.grayscale_probability,
        blur=drawn["blur"] < policy.blur_probability,
        sigma=_between(drawn["sigma"], *policy.blur_sigma),
        solarize=drawn["solarize"] < policy.solarize_probability,
        vertical_flip=drawn["vertical_flip"] < policy.vertical_flip_probability,
        quarter_turns=torch.where(
            drawn["rotation"] < policy.rotation_probability, 1 + (3 * drawn["quarter_turns"]).long(), 0
        ),
        band_jitter=drawn["band_jitter"] < policy.band_jitter_probability,
        band_jitter_seed=(SEEDS * drawn["band_jitter_seed"]).long(),
        band_drop_seed=(SEEDS * drawn["band_drop_seed"]).long(),
        noise=drawn["noise"] < policy.noise_probability,
        noise_sigma=_between(drawn["noise_sigma"], *policy.noise_sigma),
        noise_seed=(SEEDS * drawn["noise_seed"]).long(),
    )


def uniform_columns(
    columns: int, num_images: int, seed: int, step: int, view: int, left_out: Collection[int] = ()
) -> Tensor:
    """(N, columns) float64 in [0, 1): a column does not depend on the number of columns, a row not on that of rows.

    `left_out`: columns behind the first stream that are not drawn; they hold 0.
    """
    key, first = [seed, (step << 8) + view], min(columns, FIRST_STREAM)
    parts = [np.random.Generator(np.random.Philox(key=key)).random((num_images, FIRST_STREAM))[:, :first]]
    for column in range(FIRST_STREAM, columns):
        if column in left_out:
            parts.append(np.zeros((num_images, 1)))
            continue
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, column]))
        parts.append(generator.random((num_images, 1)))
    return torch.from_numpy(np.concatenate(parts, axis=1))


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return (low + (high - low) * uniform).float()


def _below_one(uniform: Tensor) -> Tensor:
    return uniform.float().clamp_max(1 - 2**-24)  # rounding to float32 may reach 1
