"""Gaussian blur of a batch, each image with its own sigma: one banded matrix per image, for strips along both axes."""

import torch
from torch import Tensor
from torch.nn import functional

from byol.views.policy import Semantics

STRIP = 32
"""Output pixels per matrix product along an axis. A product over the whole axis is 4 times the work at 224 px."""


def kernel_radius(size: int) -> int:
    """Radius of the kernel for views of `size` pixels: 11 (23 taps) at 224, 1 at 32 (BYOL appendix B)."""
    return int((size / 10) / 2)


def gaussian_kernel(sigma: Tensor, radius: int) -> Tensor:
    """(N, 2 * radius + 1) weights that sum to 1."""
    taps = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    weight = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    return weight / weight.sum(dim=1, keepdim=True)


def gaussian_blur(images: Tensor, sigma: Tensor, semantics: Semantics = "deepmind") -> Tensor:
    """Blurred (N, C, H, W) images with zeros outside, so that borders darken, as with DeepMind's SAME padding.

    Differs from the paper with semantics="torchvision": the border is reflected.
    """
    count, channels, height, width = images.shape
    radius = kernel_radius(height)  # DeepMind ties the kernel to the height
    band, span = _band_matrix(gaussian_kernel(sigma, radius)), STRIP + 2 * radius
    margins = (radius, -width % STRIP + radius, radius, -height % STRIP + radius)
    if semantics == "torchvision":
        images = functional.pad(images, (radius,) * 4, mode="reflect")
        margins = (0, -width % STRIP, 0, -height % STRIP)
    padded = functional.pad(images, margins)
    strips = padded.unfold(3, span, STRIP)  # (N, C, H', number, span)
    across = torch.bmm(strips.reshape(count, -1, span), band.mT).view(count, channels, padded.shape[2], -1)
    strips = across.unfold(2, span, STRIP)  # (N, C, number, W', span)
    along = torch.matmul(band[:, None, None], strips.mT)
    return along.reshape(count, channels, -1, across.shape[3])[:, :, :height, :width]


def _band_matrix(kernel: Tensor) -> Tensor:
    """(N, STRIP, STRIP + 2 * radius) matrices that convolve a strip and its margins with the (N, taps) kernels."""
    count, taps = kernel.shape
    row = functional.pad(kernel, (0, STRIP))  # one longer than a row, so that each row starts one later
    return row.repeat(1, STRIP)[:, : STRIP * (STRIP + taps - 1)].view(count, STRIP, -1)
