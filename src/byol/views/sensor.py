"""Differences between two exposures of a sensor: gain and offset of each band, lost bands, noise. None is in the paper.

Random numbers are a hash of (seed of the image, place), so that they are made where they are used and are the same on
every device and in every batch.
"""

import math

import torch
from torch import Tensor

from byol.views.parameters import ViewParameters
from byol.views.policy import ViewPolicy

STEP, FIRST, SECOND = -0x61C88647, 0x7FEB352D, -0x7B935975
"""Factors of the hash, as signed 32-bit numbers: 2**32 / golden ratio, and those of lowbias32 (C. Wellons)."""
BITS = 23
"""Bits of a uniform number: with half a step added it is exact in float32, and neither 0 nor 1."""


def uniform(seeds: Tensor, count: int) -> Tensor:
    """(N, count) float32 in (0, 1), uniform; column i depends on the (N,) int64 seed and on i alone."""
    place = torch.arange(count, dtype=torch.int32, device=seeds.device)
    x = (seeds.to(torch.int32) * STEP)[:, None] + place
    for shift, factor in ((16, FIRST), (15, SECOND)):
        x ^= (x >> shift) & (2 ** (32 - shift) - 1)
        x *= factor
    x ^= (x >> 16) & 0xFFFF
    return ((x >> (32 - BITS)) & (2**BITS - 1)).to(torch.float32).add_(0.5).mul_(2.0**-BITS)


def band_changes(p: ViewParameters, policy: ViewPolicy, channels: int) -> Tensor:
    """(N, C, 2) float32: gain and offset of each channel; both are 0 in a lost one, 1 and 0 in one that is not changed.

    A channel is lost with policy.band_drop_probability; the one with the largest draw stays.
    """
    draws = uniform(p.band_jitter_seed, 2 * channels).view(-1, channels, 2)
    changes = (2 * draws - 1) * torch.tensor([policy.band_gain, policy.band_offset])
    changes = torch.where(p.band_jitter[:, None, None], changes, 0.0) + torch.tensor([1.0, 0.0])
    draws = uniform(p.band_drop_seed, channels)
    lost = (draws < policy.band_drop_probability) & (draws < draws.amax(dim=1, keepdim=True))
    return torch.where(lost[:, :, None], 0.0, changes)


def change_bands(images: Tensor, changes: Tensor) -> Tensor:
    """(N, C, S, S) images times each channel's gain plus its offset, clipped."""
    gain, offset = changes[:, :, None, None].unbind(4)
    return torch.addcmul(offset, images, gain).clamp_(0, 1)


def add_noise(images: Tensor, amounts: Tensor) -> Tensor:
    """(N, C, S, S) images plus Gaussian noise, not clipped. `amounts`: (N, 2), its standard deviation and seed."""
    sigma, seeds = amounts.unbind(1)
    normal = torch.erfinv(uniform(seeds.long(), images[0].numel()).mul_(2).sub_(1)).mul_(math.sqrt(2) * sigma[:, None])
    return images + normal.view(images.shape)
