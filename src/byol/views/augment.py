"""One augmented view of a batch of images: crop and flip, colour, grayscale, blur, solarize, in the paper's order.

Operations that need RGB (saturation, hue, grayscale) are left out for images of any other channel count.
"""

import torch
from torch import Tensor

from byol.views import color
from byol.views.blur import gaussian_blur
from byol.views.geometry import crop_resize, crop_window
from byol.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParameters
from byol.views.policy import Semantics, ViewPolicy


def augment(
    images: Tensor,
    parameters: ViewParameters,
    policy: ViewPolicy,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: the view that `parameters` describe of (N, C, H, W) images."""
    crops = random_crop(images, parameters, size, semantics=semantics, antialias=antialias)
    return distort(crops, parameters, policy, semantics=semantics)


def random_crop(
    images: Tensor,
    parameters: ViewParameters,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
) -> Tensor:
    """The first half of `augment`: crop, resize and flip. The only part that sees the images' own sizes."""
    height, width = images.shape[-2:]
    ones = torch.ones(len(parameters), device=images.device)
    windows = crop_window(parameters, ones * height, ones * width, semantics)
    return crop_resize(images, windows, size, antialias=antialias, flip=parameters.flip)


def distort(
    views: Tensor, parameters: ViewParameters, policy: ViewPolicy, *, semantics: Semantics = "deepmind"
) -> Tensor:
    """The second half of `augment`: colour, blur and solarize on (N, C, S, S) crops in [0, 1]."""
    views = jitter(views, parameters, semantics)
    if views.shape[1] == 3:
        views = _where(parameters.grayscale, views, color.grayscale)
    views = views.clamp(0, 1)
    views = _where(parameters.blur, views, lambda v: gaussian_blur(v, parameters.sigma[parameters.blur], semantics))
    views = _where(parameters.solarize, views, lambda v: color.solarize(v, policy.solarize_threshold))
    return views.clamp(0, 1)


def jitter(views: Tensor, parameters: ViewParameters, semantics: Semantics = "deepmind") -> Tensor:
    """Brightness, contrast, saturation and hue in each image's own order, where its `jitter` is set."""
    rgb = views.shape[1] == 3
    views = views.clone()
    for position in range(4):
        for operation in (BRIGHTNESS, CONTRAST, SATURATION, HUE) if rgb else (BRIGHTNESS, CONTRAST):
            rows = (parameters.jitter & (parameters.order[:, position] == operation)).nonzero()[:, 0]
            if len(rows):
                views[rows] = _color_operation(operation, views[rows], parameters[rows], semantics)
    return views


def _color_operation(operation: int, views: Tensor, parameters: ViewParameters, semantics: Semantics) -> Tensor:
    if operation == BRIGHTNESS:
        if semantics == "torchvision":
            return color.scale_brightness_torchvision(views, 1 + parameters.brightness)
        return color.add_brightness(views, parameters.brightness)
    if operation == CONTRAST:
        contrast = color.scale_contrast_torchvision if semantics == "torchvision" else color.scale_contrast
        return contrast(views, 1 + parameters.contrast)
    if operation == SATURATION:
        saturation = color.scale_saturation_torchvision if semantics == "torchvision" else color.scale_saturation
        return saturation(views, 1 + parameters.saturation)
    return color.rotate_hue(views, parameters.hue)


def _where(chosen: Tensor, views: Tensor, operation) -> Tensor:
    """`operation` applied to the chosen images alone."""
    if not bool(chosen.any()):
        return views
    views = views.clone()
    views[chosen] = operation(views[chosen])
    return views
