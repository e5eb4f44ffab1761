"""One augmented view of a batch of images: crop and flip, colour, grayscale, blur, solarize, in the paper's order.

Operations that the paper does not have: vertical flip and rotation after the flip, gain, offset and loss of bands after
the colours, noise at the end.

Operations that need RGB (saturation, hue, grayscale) are left out for other channel counts. Parameters stay on the
CPU, where they are drawn: the images for each operation are selected there, so that a GPU is never waited for.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.runtime.copies import to_device
from byol.views import color, fused, sensor
from byol.views.blur import gaussian_blur
from byol.views.geometry import INTEGERS, crop_resize, crop_window
from byol.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParameters
from byol.views.policy import Semantics, ViewKernels, ViewPolicy

IN_CACHE = 2**18
"""Values per thread that a CPU processes together, so that they stay in its cache: 1 MiB of float32."""


def augment(
    images: Tensor,
    parameters: ViewParameters,
    policy: ViewPolicy,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
    kernels: ViewKernels = "native",
    channels_last: bool = False,
) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: the view of (N, C, H, W) images that `parameters` describe.

    `images`: uint8, uint16, or float in [0, 1].
    """
    if kernels == "fused" and fused.takes(images, *INTEGERS) and fused.knows(policy):
        return fused.augment(
            images, parameters, policy, size, semantics=semantics, antialias=antialias, channels_last=channels_last
        )

    windows = crop_window(parameters, images.shape[-2], images.shape[-1], semantics)

    def view(rows: slice) -> Tensor:
        part = parameters[rows]
        crops = crop_resize(images[rows], windows[rows], size, antialias=antialias, flip=part.flip)
        return _distort(_turn(crops, part), part, policy, semantics)

    return _by_cache_block(view, (*images.shape[:2], size, size), images.device, channels_last)


def random_crop(
    images: Tensor,
    parameters: ViewParameters,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
    kernels: ViewKernels = "native",
) -> Tensor:
    """(N, C, size, size): the first half of `augment`, that is crop, resize, flips and rotation of images of any size."""
    if kernels == "fused" and fused.takes(images, *INTEGERS):
        return fused.random_crop(images, parameters, size, semantics=semantics, antialias=antialias)
    windows = crop_window(parameters, images.shape[-2], images.shape[-1], semantics)
    return _turn(crop_resize(images, windows, size, antialias=antialias, flip=parameters.flip), parameters)


def distort(
    views: Tensor,
    parameters: ViewParameters,
    policy: ViewPolicy,
    *,
    semantics: Semantics = "deepmind",
    kernels: ViewKernels = "native",
    channels_last: bool = False,
) -> Tensor:
    """(N, C, S, S): the second half of `augment`, that is colour, bands, blur, solarize and noise of crops in [0, 1]."""
    if kernels == "fused" and fused.takes(views, torch.float32) and fused.knows(policy):
        return fused.distort(views, parameters, policy, semantics=semantics, channels_last=channels_last)

    def view(rows: slice) -> Tensor:
        return _distort(views[rows].clone(), parameters[rows], policy, semantics)

    return _by_cache_block(view, views.shape, views.device, channels_last)


def _by_cache_block(
    view: Callable[[slice], Tensor], shape: tuple[int, ...], device: torch.device, channels_last: bool
) -> Tensor:
    """(N, C, S, S): `view` of all rows, on a CPU of as many at a time as fit its cache."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    count, channels, size, _ = shape
    together = count if device.type != "cpu" else max(1, torch.get_num_threads() * IN_CACHE // (channels * size * size))
    if together >= count:
        return view(slice(0, count)).contiguous(memory_format=layout)
    out = torch.empty(shape, dtype=torch.float32, device=device, memory_format=layout)
    for start in range(0, count, together):
        rows = slice(start, min(start + together, count))
        out[rows] = view(rows)
    return out


def _turn(views: Tensor, p: ViewParameters) -> Tensor:
    """Vertical flip, then rotation by quarter turns. May change `views`."""
    views = _where(p.vertical_flip, views, p.vertical_flip, lambda v, _: v.flip(2))
    for turns in (1, 2, 3):
        views = _where(p.quarter_turns == turns, views, p.quarter_turns, lambda v, _, t=turns: v.rot90(t, (2, 3)))
    return views


def _distort(views: Tensor, p: ViewParameters, policy: ViewPolicy, semantics: Semantics) -> Tensor:
    """`distort` in place: `views` may be changed."""
    views = _jitter(views, p, semantics)
    if policy.band_jitter_probability or policy.band_drop_probability:
        changes = sensor.band_changes(p, policy, views.shape[1])
        views = sensor.change_bands(views, to_device(changes, views.device))
    if views.shape[1] == 3:
        views = _where(p.grayscale, views, p.grayscale, lambda v, _: color.grayscale(v))
    views = _where(p.blur, views.clamp(0, 1), p.sigma, lambda v, sigma: gaussian_blur(v, sigma, semantics))
    views = _where(p.solarize, views, p.solarize, lambda v, _: color.solarize(v, policy.solarize_threshold))
    views = _where(p.noise, views, torch.stack((p.noise_sigma, p.noise_seed), 1), sensor.add_noise)
    return views.clamp_(0, 1)


def _jitter(views: Tensor, p: ViewParameters, semantics: Semantics) -> Tensor:
    """Brightness, contrast, saturation and hue in each image's own order, for images with `jitter`."""
    rgb = views.shape[1] == 3
    for order in torch.where(p.jitter[:, None], p.order, -1).unbind(1):
        for operation in (BRIGHTNESS, CONTRAST, SATURATION, HUE) if rgb else (BRIGHTNESS, CONTRAST):
            views = _color_operation(operation, order == operation, views, p, semantics)
    return views


def _color_operation(
    operation: int, selected: Tensor, views: Tensor, p: ViewParameters, semantics: Semantics
) -> Tensor:
    torchvision = semantics == "torchvision"
    if operation == BRIGHTNESS:
        if torchvision:
            return _where(selected, views, 1 + p.brightness, color.scale_brightness_torchvision)
        return _where(selected, views, p.brightness, color.add_brightness)
    if operation == CONTRAST:
        contrast = color.scale_contrast_torchvision if torchvision else color.scale_contrast
        return _where(selected, views, 1 + p.contrast, contrast)
    if operation == SATURATION:
        saturation = color.scale_saturation_torchvision if torchvision else color.scale_saturation
        return _where(selected, views, 1 + p.saturation, saturation)
    return _where(selected, views, p.hue, color.rotate_hue)


def _where(selected: Tensor, views: Tensor, amount: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`operation` of the selected images with their amounts; the others stay. May change `views`."""
    indices = selected.numpy().nonzero()[0]
    if len(indices) == len(views):
        return operation(views, to_device(amount, views.device))
    if len(indices):
        rows = torch.from_numpy(indices)
        amount = to_device(amount[rows], views.device)
        rows = to_device(rows, views.device)
        views.index_copy_(0, rows, operation(views.index_select(0, rows), amount))
    return views
