"""Colour operations on batches of views in [0, 1], each image with its own parameter, each clipped afterwards.

DeepMind's forms are the paper's. The torchvision forms (`*_torchvision`) differ from the paper: brightness
multiplies, contrast blends with the mean grey, saturation blends with the grey image.

HSV is never formed. With V the largest channel, m the smallest and span = V - m, S is span / V, so that a factor of S
moves each channel along its distance from V; and hue times span is piecewise linear in the channels, so that turning
it needs no division.
"""

import torch
from torch import Tensor

LUMA = (0.2989, 0.5870, 0.1140)
TINY = 1e-30


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W) grey values of RGB images: 0.2989 R + 0.5870 G + 0.1140 B."""
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def add_brightness(images: Tensor, delta: Tensor) -> Tensor:
    """Images plus delta, clipped."""
    return (images + _per_image(delta)).clamp_(0, 1)


def scale_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from each channel's own mean times factor, clipped."""
    return _scale_about(images, images.mean(dim=(2, 3), keepdim=True), factor)


def scale_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Saturation S of HSV times factor, clipped to [0, 1]; RGB only."""
    value, low = _largest_and_smallest(images)
    # S' = min(S factor, 1): distances from V times min(factor, 1 / S)
    ratio = torch.minimum(value / (value - low).clamp_min_(TINY), _per_image(factor.clamp_min(0)))
    return torch.lerp(value, images, ratio).clamp_(0, 1)


def rotate_hue(images: Tensor, delta: Tensor) -> Tensor:
    """Hue H of HSV plus delta turns, modulo 1; RGB only."""
    value, low = _largest_and_smallest(images)
    span = value - low
    red, green, blue = images.split(1, dim=1)
    # in sixths of a turn, times span; from -1 to 5 of them
    hue = _where_zero(green - value, (blue - red).add_(span, alpha=2), (red - green).add_(span, alpha=4))
    hue = _where_zero(red - value, green - blue, hue)
    turned = _per_image(6 * (delta % 1)) - 2 * torch.arange(3, device=delta.device)[:, None, None]
    # red, green and blue are largest at 0, 2 and 4 sixths; distance from the nearest turn that has the channel at its top: a channel falls from 1 to 2 sixths away
    turned -= 6 * ((turned + 2) / 6).round()
    distance = torch.addcmul(hue, turned, span).abs_()
    ramp = distance.sub_(span, alpha=3).abs_().sub_(span).clamp_min_(0)
    return torch.minimum(ramp, span).add_(low).clamp_(0, 1)


def grayscale(images: Tensor) -> Tensor:
    """The grey image in all three channels; RGB only."""
    return luma(images).expand_as(images)


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Values x below the threshold stay, others become 1 - x."""
    return torch.where(images < threshold, images, 1 - images)


def _largest_and_smallest(images: Tensor) -> tuple[Tensor, Tensor]:
    """Largest channel (V of HSV) and smallest channel, (N, 1, H, W) each."""
    red, green, blue = images.split(1, dim=1)
    return torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)


def _where_zero(condition: Tensor, if_zero: Tensor, other: Tensor) -> Tensor:
    """`if_zero` at elements whose condition, at most 0, is 0; else `other`. torch.where is far slower on a CPU."""
    return torch.lerp(other, if_zero, condition.sign_().add_(1))


def _scale_about(images: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """Distances from `centre`, one number per image or channel, times factor, clipped."""
    return (images * _per_image(factor)).add_(centre * (1 - _per_image(factor))).clamp_(0, 1)


def scale_brightness_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """Images times factor, clipped."""
    return (images * _per_image(factor)).clamp_(0, 1)


def scale_contrast_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from the mean grey of the image times factor, clipped."""
    grey = luma(images) if images.shape[1] == 3 else images.mean(dim=1, keepdim=True)
    return _scale_about(images, grey.mean(dim=(1, 2, 3), keepdim=True), factor)


def scale_saturation_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from the grey image times factor, clipped; RGB only."""
    return torch.lerp(luma(images), images, _per_image(factor)).clamp_(0, 1)
