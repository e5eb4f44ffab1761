"""Random crop, bicubic resize and flip of a batch, as two small matrices per image.

DeepMind's resize: bicubic with a = -0.5, half-pixel centres, no antialiasing, weights outside the crop dropped and
the rest renormalised, result clipped to [0, 1]. Neither of torch's bicubic modes is that.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from byol.runtime.copies import to_device
from byol.views.parameters import ViewParameters
from byol.views.policy import Semantics

STRIP = 32
"""Output pixels per matrix product along an axis, for images that are resized one by one."""
CACHED_LENGTH = 512
"""Largest length in pixels whose matrices are cached: at most 40 MB at 224 px."""
INTEGERS = {torch.uint8: 255, torch.uint16: 65535}
"""Types of pixels that are whole numbers, with the value that is 1."""
TOGETHER = 64 * 64
"""Largest image, in pixels, for which a batch is resized together on a CPU; larger ones are cropped one by one."""


def crop_window(parameters: ViewParameters, height: int, width: int, semantics: Semantics) -> Tensor:
    """(N, 4) int64 windows (top, left, height, width) in images of `height` by `width` pixels.

    DeepMind draws once and clamps each side to the image. Differs from the paper with semantics="torchvision":
    up to ten draws until one fits, else the largest central crop of an aspect ratio that can be drawn.
    """
    area = parameters.area * float(height * width)
    aspect = parameters.log_aspect.exp()
    crop_width = (area * aspect).sqrt().round().long()
    crop_height = (area / aspect).sqrt().round().long()
    if semantics == "torchvision":
        return _first_fitting(parameters, crop_height, crop_width, height, width)
    crop_height, crop_width = crop_height[:, 0].clamp(1, height), crop_width[:, 0].clamp(1, width)
    return _placed(parameters.offset, crop_height, crop_width, height, width)


def _placed(offset: Tensor, crop_height: Tensor, crop_width: Tensor, height: int, width: int) -> Tensor:
    top = (offset[:, 0] * (height - crop_height + 1)).floor().long()
    left = (offset[:, 1] * (width - crop_width + 1)).floor().long()
    return torch.stack((top, left, crop_height, crop_width), dim=1)


def _first_fitting(
    parameters: ViewParameters, tried_heights: Tensor, tried_widths: Tensor, height: int, width: int
) -> Tensor:
    """Window by torchvision's rule: the first try that fits, else a central crop of an aspect that can be drawn."""
    fits = (tried_heights >= 1) & (tried_widths >= 1) & (tried_heights <= height) & (tried_widths <= width)
    first = fits.long().argmax(dim=1, keepdim=True)
    crop_height, crop_width = (tries.gather(1, first)[:, 0] for tries in (tried_heights, tried_widths))
    window = _placed(parameters.offset, crop_height, crop_width, height, width)
    low, high = parameters.aspect_range.unbind(1)
    aspect = low.clamp_min(width / height).minimum(high)
    crop_width = (height * aspect).round().long().clamp(1, width)
    crop_height = (width / aspect).round().long().clamp(1, height)
    central = ((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)
    return torch.where(fits.any(dim=1, keepdim=True), window, torch.stack(central, dim=1))


def resize_matrix(
    start: Tensor,
    length: Tensor,
    source: int,
    size: int,
    *,
    antialias: bool = False,
    flip: Tensor | None = None,
) -> Tensor:
    """(N, size, source) float32 matrices that resample pixels [start, start + length) to `size` by bicubic weights.

    `flip` (N,) bool reverses the output. With `antialias` the kernel widens by the factor of shrinking.
    """
    device = start.device
    start, length = start.to(torch.float32)[:, None, None], length.to(torch.float32)[:, None, None]
    output = torch.arange(size, device=device, dtype=torch.float32)[None, :, None]
    if flip is not None:
        output = torch.where(flip[:, None, None], size - 1 - output, output)
    pixel = torch.arange(source, device=device, dtype=torch.float32)[None, None, :] - start
    return _weights(output, pixel, length, size, antialias)


def _weights(output: Tensor, pixel: Tensor, length: Tensor, size: int, antialias: bool) -> Tensor:
    """Weight of each pixel of a window of `length` pixels in each of `size` outputs; pixels and outputs are indices."""
    # the centre is (output + 0.5) * length / size - 0.5; times 2 size all are whole numbers, exact in float32
    centre = (2 * output + 1) * length - size
    distance = (2 * size * pixel - centre).abs()
    distance = distance / (2 * torch.maximum(length, torch.full_like(length, size)) if antialias else 2 * size)
    weight = _cubic(distance) * ((pixel >= 0) & (pixel < length)).float()
    return weight / weight.sum(dim=-1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5: one cubic on [0, 1], another on [1, 2], zero beyond."""
    near, far = distance.clamp_max(1), distance.clamp(1, 2)
    inner = (1.5 * near).sub_(2.5).mul_(near).mul_(near).add_(1)
    outer = (-0.5 * far).add_(2.5).mul_(far).sub_(4).mul_(far).add_(2)
    return inner.add_(outer)


def crop_resize(
    images: Tensor, windows: Tensor, size: int, *, antialias: bool = False, flip: Tensor | None = None
) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: a window of each image, resized; mirrored if its `flip` is true.

    `images` is (N, C, H, W) uint8, uint16, or float in [0, 1]; `windows` is the result of `crop_window`. A GPU is not waited for
    if windows and flips are on the CPU.
    """
    count, channels, height, width = images.shape
    if count > 1 and images.device.type == "cpu" and height * width > TOGETHER:
        flips = [None] * count if flip is None else flip.split(1)
        alone = zip(images.split(1), windows.split(1), flips, strict=True)
        return torch.cat([crop_resize(i, w, size, antialias=antialias, flip=f) for i, w, f in alone])
    if count == 1:  # nothing outside the window counts, and one window can be cut out
        top, left, height, width = windows[0].tolist()
        window = images[0, :, top : top + height, left : left + width]
        return _resize_alone(window, (size, size), antialias, flip is not None and bool(flip))[None]
    windows = to_device(windows, images.device)
    flip = None if flip is None else to_device(flip, images.device)
    rows = resize_matrix(windows[:, 0], windows[:, 2], height, size, antialias=antialias)
    columns = resize_matrix(windows[:, 1], windows[:, 3], width, size, antialias=antialias, flip=flip)
    # one matrix product per axis; channels ride along in the rows
    narrow = torch.bmm(images.to(torch.float32).flatten(1, 2), columns.transpose(1, 2))
    narrow = narrow.view(-1, channels, height, size).transpose(1, 2).reshape(-1, height, channels * size)
    out = torch.bmm(rows, narrow).view(-1, size, channels, size).transpose(1, 2)
    return (out / INTEGERS[images.dtype] if images.dtype in INTEGERS else out).clamp_(0, 1).contiguous()


def resize(images: Tensor, height: int, width: int, *, antialias: bool = False) -> Tensor:
    """(N, C, height, width) float32 in [0, 1]: whole images, (N, C, H, W) uint8, uint16 or float in [0, 1], resized (bicubic)."""
    return torch.stack([_resize_alone(image, (height, width), antialias, False) for image in images])


def _resize_alone(window: Tensor, size: tuple[int, int], antialias: bool, flip: bool) -> Tensor:
    """(C, h, w) for a size (h, w): one window (C, H, W) resized, using only the non-zero bands of the two matrices."""
    channels, height, width = window.shape
    lines = window.transpose(0, 1).to(torch.float32).reshape(height, -1)
    bands = _bands if max(height, width) <= CACHED_LENGTH else _bands.__wrapped__
    rows = bands(height, size[0], antialias, False, window.device)
    lines = torch.cat([weight @ lines[first : first + weight.shape[1]] for first, weight in rows]).view(-1, width)
    columns = bands(width, size[1], antialias, flip, window.device)
    out = torch.cat([lines[:, first : first + weight.shape[1]] @ weight.T for first, weight in columns], dim=1)
    out = out.view(size[0], channels, size[1]).transpose(0, 1).contiguous()
    return (out.div_(INTEGERS[window.dtype]) if window.dtype in INTEGERS else out).clamp_(0, 1)


@lru_cache(maxsize=512)
def _bands(length: int, size: int, antialias: bool, flip: bool, device: torch.device) -> list[tuple[int, Tensor]]:
    """Strips of the matrix that resizes `length` pixels to `size`: (first pixel used, (outputs, pixels) weights)."""
    scale = length / size
    reach = 2 * max(scale, 1.0) if antialias else 2.0
    pixels = min(length, math.ceil(STRIP * scale + 2 * reach) + 2)
    starts = range(0, size, STRIP)
    lowest = [size - STRIP - start if flip else start for start in starts]
    firsts = [max(0, min(length - pixels, math.floor((low + 0.5) * scale - 0.5 - reach))) for low in lowest]
    output = torch.arange(size, device=device, dtype=torch.float32)
    output = functional.pad(output.flip(0) if flip else output, (0, -size % STRIP)).view(-1, STRIP, 1)
    first = to_device(torch.tensor(firsts, dtype=torch.float32), device)[:, None, None]
    pixel = first + torch.arange(pixels, device=device, dtype=torch.float32)
    weights = _weights(output, pixel, torch.full((), float(length), device=device), size, antialias)
    return [(at, weight[: size - start]) for at, start, weight in zip(firsts, starts, weights, strict=True)]
