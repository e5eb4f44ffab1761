"""Gaussian blur of a batch, each image with its own sigma: a banded matrix per image and axis."""

import torch
from torch import Tensor
from torch.nn import functional

from byol.views.policy import Semantics


def kernel_radius(size: int) -> int:
    """Radius of the kernel for views of `size` pixels: 11 (23 taps) at 224, 1 at 32 (BYOL appendix B)."""
    return int((size / 10) / 2)


def gaussian_kernel(sigma: Tensor, radius: int) -> Tensor:
    """(N, 2 * radius + 1) weights that sum to 1."""
    taps = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    weight = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    return weight / weight.sum(dim=1, keepdim=True)


def gaussian_blur(images: Tensor, sigma: Tensor, semantics: Semantics = "deepmind") -> Tensor:
    """Blurred (N, C, H, W) images; outside is zero, so that borders darken, as DeepMind's SAME padding has it.

    Differs from the paper with semantics="torchvision": the border is reflected.
    """
    height, width = images.shape[-2:]
    rows = _band_matrix(gaussian_kernel(sigma, kernel_radius(height)), height, semantics)
    # DeepMind ties the kernel to the height
    columns = rows if height == width else _band_matrix(gaussian_kernel(sigma, kernel_radius(height)), width, semantics)
    return torch.matmul(torch.matmul(rows[:, None], images), columns[:, None].transpose(2, 3))


def _band_matrix(kernel: Tensor, size: int, semantics: Semantics) -> Tensor:
    """(N, size, size) matrices that convolve with the (N, taps) kernels."""
    taps = kernel.shape[1]
    radius = taps // 2
    padded = size + 2 * radius
    row = functional.pad(kernel, (0, padded - taps + 1))  # one longer than a row, so that each row starts one later
    band = row.repeat(1, size)[:, : size * padded].view(-1, size, padded)
    inside = band[:, :, radius : radius + size].clone()
    if semantics == "torchvision" and radius:
        before, after = band[:, :, :radius], band[:, :, radius + size :]
        inside[:, :, 1 : radius + 1] += before.flip(2)
        inside[:, :, size - 1 - radius : size - 1] += after.flip(2)
    return inside
