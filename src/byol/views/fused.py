"""The operations of `views.augment` on a CPU, as one pass over each image (views.cpp).

Results equal torch's up to float32 rounding, for uint8 and uint16 images and float32 crops. `takes` tells whether it can be used.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from byol.runtime import kernels
from byol.views.geometry import crop_window
from byol.views.parameters import ViewParameters
from byol.views.policy import Semantics, ViewPolicy
from byol.views.sensor import band_changes

NUMBERS = (
    *("brightness", "contrast", "saturation", "hue", "grayscale", "blur", "sigma", "solarize"),
    *("noise", "noise_sigma", "noise_seed"),
)
OPERATIONS = frozenset(
    (
        *("flip", "jitter", "grayscale", "blur", "solarize"),
        *("vertical_flip", "rotation", "band_jitter", "band_drop", "noise"),
    )
)
"""Operations of views.cpp, by the names of their probabilities."""
POINTER, INT, FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
ARGUMENTS = {
    "augment": (POINTER, INT, *[POINTER] * 4, *[INT] * 5, FLOAT, INT, POINTER, POINTER),
    "random_crop": (POINTER, INT, *[POINTER] * 3, *[INT] * 5, POINTER),
    "distort": (*[POINTER] * 4, *[INT] * 4, FLOAT, INT, POINTER, POINTER),
}


@cache
def _library() -> ctypes.CDLL:
    library = kernels.library(Path(__file__).with_name("views.cpp"))
    for name, types in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    return library


def takes(images: Tensor, *kinds: torch.dtype) -> bool:
    """Whether the operator can process these images: on the CPU, of one of the types, and with a compiler installed."""
    return images.device.type == "cpu" and images.dtype in kinds and not kernels.prepare()


def knows(policy: ViewPolicy) -> bool:
    """Whether views.cpp has every operation that the policy may apply."""
    return all(
        value == 0 or name.removesuffix("_probability") in OPERATIONS
        for name, value in vars(policy).items()
        if name.endswith("_probability")
    )


def augment(
    images: Tensor,
    parameters: ViewParameters,
    policy: ViewPolicy,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
    channels_last: bool = False,
) -> Tensor:
    """(N, C, size, size) float32 in [0, 1]: `views.augment.augment` of (N, C, H, W) uint8 or uint16 images in any layout."""
    windows = crop_window(parameters, images.shape[-2], images.shape[-1], semantics).contiguous()
    settings, bands = table(parameters), _bands(parameters, policy, images.shape[1])
    out = _empty(images, size, channels_last)
    _library().augment(
        images.data_ptr(), images.itemsize, _strides(images), windows.data_ptr(), settings.data_ptr(), _address(bands),
        len(images), images.shape[1], size, antialias, semantics == "torchvision", policy.solarize_threshold, torch.get_num_threads(),
        out.data_ptr(), _strides(out),
    )  # fmt: skip
    return out


def random_crop(
    images: Tensor,
    parameters: ViewParameters,
    size: int,
    *,
    semantics: Semantics = "deepmind",
    antialias: bool = False,
) -> Tensor:
    """(N, C, size, size) contiguous: the first half of `augment`, that is crop, resize, flips and rotation."""
    windows = crop_window(parameters, images.shape[-2], images.shape[-1], semantics).contiguous()
    poses = _poses(parameters).to(torch.uint8)
    out = _empty(images, size, False)
    _library().random_crop(
        images.data_ptr(), images.itemsize, _strides(images), windows.data_ptr(), poses.data_ptr(), len(images), images.shape[1],
        size, antialias, torch.get_num_threads(), out.data_ptr(),
    )  # fmt: skip
    return out


def distort(
    views: Tensor,
    parameters: ViewParameters,
    policy: ViewPolicy,
    *,
    semantics: Semantics = "deepmind",
    channels_last: bool = False,
) -> Tensor:
    """(N, C, S, S) views: the second half of `augment`, that is colour, bands, blur, solarize and noise, of float32 crops in [0, 1]."""
    settings, bands = table(parameters), _bands(parameters, policy, views.shape[1])
    out = _empty(views, views.shape[-1], channels_last)
    _library().distort(
        views.data_ptr(), _strides(views), settings.data_ptr(), _address(bands), len(views), views.shape[1],
        views.shape[-1], semantics == "torchvision", policy.solarize_threshold, torch.get_num_threads(), out.data_ptr(), _strides(out),
    )  # fmt: skip
    return out


def table(parameters: ViewParameters) -> Tensor:
    """(N, 17) float32: one row per image, in the layout of `Settings` in color.h."""
    numbers = [getattr(parameters, name)[:, None].float() for name in NUMBERS]
    return torch.cat(
        (_poses(parameters)[:, None].float(), parameters.jitter[:, None].float(), parameters.order.float(), *numbers),
        dim=1,
    )


def _poses(p: ViewParameters) -> Tensor:
    """(N,) int64: flip, vertical flip and quarter turns as one number, as `Pose` in crop.h reads it."""
    return p.flip + 2 * p.vertical_flip + 4 * p.quarter_turns


def _bands(parameters: ViewParameters, policy: ViewPolicy, channels: int) -> Tensor | None:
    """(N, C, 2) contiguous gains and offsets; None if the policy leaves bands as they are."""
    if not (policy.band_jitter_probability or policy.band_drop_probability):
        return None
    return band_changes(parameters, policy, channels).contiguous()


def _address(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()


def _empty(images: Tensor, size: int, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty((*images.shape[:2], size, size), dtype=torch.float32, memory_format=layout)


def _strides(images: Tensor) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 4)(*images.stride())
