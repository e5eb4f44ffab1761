"""Colour operations on batches of views in [0, 1], each image with its own parameter, each clipped afterwards.

DeepMind's forms are the paper's. The torchvision forms (`*_torchvision`) differ from the paper: brightness
multiplies, contrast blends with the mean grey, saturation blends with the grey image.
"""

import torch
from torch import Tensor

LUMA = (0.2989, 0.5870, 0.1140)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W) grey values of RGB images: 0.2989 R + 0.5870 G + 0.1140 B."""
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def add_brightness(images: Tensor, delta: Tensor) -> Tensor:
    """x + delta, clipped."""
    return (images + _per_image(delta)).clamp(0, 1)


def scale_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from each channel's own mean times factor, clipped."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return ((images - mean) * _per_image(factor) + mean).clamp(0, 1)


def scale_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """S of HSV times factor, clipped to [0, 1]; RGB only."""
    hue, saturation, value = rgb_to_hsv(images).unbind(1)
    saturation = (saturation * factor[:, None, None]).clamp(0, 1)
    return hsv_to_rgb(torch.stack((hue, saturation, value), dim=1)).clamp(0, 1)


def rotate_hue(images: Tensor, delta: Tensor) -> Tensor:
    """H of HSV plus delta turns, modulo 1; RGB only."""
    hue, saturation, value = rgb_to_hsv(images).unbind(1)
    hue = (hue + delta[:, None, None]) % 1.0
    return hsv_to_rgb(torch.stack((hue, saturation, value), dim=1)).clamp(0, 1)


def grayscale(images: Tensor) -> Tensor:
    """The grey image in all three channels; RGB only."""
    return luma(images).expand_as(images)


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """x where x is below the threshold, else 1 - x."""
    return torch.where(images < threshold, images, 1 - images)


def rgb_to_hsv(images: Tensor) -> Tensor:
    """(N, 3, H, W) hue in turns, saturation and value, each in [0, 1]; hue and saturation of a grey pixel are 0."""
    red, green, blue = images.unbind(1)
    value = images.amax(dim=1)
    span = value - images.amin(dim=1)
    safe_span = torch.where(span > 0, span, torch.ones_like(span))
    safe_value = torch.where(value > 0, value, torch.ones_like(value))
    sector = torch.where(
        value == red,
        (green - blue) / safe_span,
        torch.where(value == green, (blue - red) / safe_span + 2, (red - green) / safe_span + 4),
    )
    hue = torch.where(span > 0, (sector / 6) % 1.0, torch.zeros_like(span))
    return torch.stack((hue, span / safe_value, value), dim=1)


def hsv_to_rgb(images: Tensor) -> Tensor:
    """The inverse of `rgb_to_hsv`."""
    hue, saturation, value = images.unbind(1)
    chroma = saturation * value
    floor = value - chroma
    sixths = (hue % 1.0) * 6

    def channel(shift: float) -> Tensor:
        ramp = ((sixths + shift) % 6 - 3).abs() - 1
        return ramp.clamp(0, 1)

    # red falls from 1 at hue 0; green and blue are the same curve, a third of a turn on
    return torch.stack([channel(shift) * chroma + floor for shift in (0.0, 4.0, 2.0)], dim=1)


def scale_brightness_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """x times factor, clipped."""
    return (images * _per_image(factor)).clamp(0, 1)


def scale_contrast_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from the mean grey of the image times factor, clipped."""
    grey = luma(images) if images.shape[1] == 3 else images.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * _per_image(factor) + mean).clamp(0, 1)


def scale_saturation_torchvision(images: Tensor, factor: Tensor) -> Tensor:
    """Distances from the grey image times factor, clipped; RGB only."""
    grey = luma(images)
    return ((images - grey) * _per_image(factor) + grey).clamp(0, 1)
