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

NUMBERS = ("brightness", "contrast", "saturation", "hue", "grayscale", "blur", "sigma", "solarize")
OPERATIONS = frozenset(("flip", "jitter", "grayscale", "blur", "solarize"))
"""Operations of views.cpp, by the names of their probabilities."""
POINTER, INT, FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
ARGUMENTS = {
    "augment": (POINTER, INT, *[POINTER] * 3, *[INT] * 5, FLOAT, INT, POINTER, POINTER),
    "random_crop": (POINTER, INT, *[POINTER] * 3, *[INT] * 5, POINTER),
    "distort": (*[POINTER] * 3, *[INT] * 4, FLOAT, INT, POINTER, POINTER),
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
    windows, settings = (
        crop_window(parameters, images.shape[-2], images.shape[-1], semantics).contiguous(),
        table(parameters),
    )
    out = _empty(images, size, channels_last)
    _library().augment(
        images.data_ptr(), images.itemsize, _strides(images), windows.data_ptr(), settings.data_ptr(), len(images), images.shape[1],
        size, antialias, semantics == "torchvision", policy.solarize_threshold, torch.get_num_threads(),
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
    """(N, C, size, size) contiguous: the first half of `augment`, that is crop, resize and flip."""
    windows, flips = (
        crop_window(parameters, images.shape[-2], images.shape[-1], semantics).contiguous(),
        parameters.flip.contiguous(),
    )
    out = _empty(images, size, False)
    _library().random_crop(
        images.data_ptr(), images.itemsize, _strides(images), windows.data_ptr(), flips.data_ptr(), len(images), images.shape[1],
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
    """(N, C, S, S) views: the second half of `augment`, that is colour, blur and solarize, of float32 crops in [0, 1]."""
    settings = table(parameters)
    out = _empty(views, views.shape[-1], channels_last)
    _library().distort(
        views.data_ptr(), _strides(views), settings.data_ptr(), len(views), views.shape[1], views.shape[-1],
        semantics == "torchvision", policy.solarize_threshold, torch.get_num_threads(), out.data_ptr(), _strides(out),
    )  # fmt: skip
    return out


def table(parameters: ViewParameters) -> Tensor:
    """(N, 14) float32: one row per image, in the layout of `Settings` in color.h."""
    numbers = [getattr(parameters, name)[:, None].float() for name in NUMBERS]
    return torch.cat(
        (parameters.flip[:, None].float(), parameters.jitter[:, None].float(), parameters.order.float(), *numbers),
        dim=1,
    )


def _empty(images: Tensor, size: int, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty((*images.shape[:2], size, size), dtype=torch.float32, memory_format=layout)


def _strides(images: Tensor) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 4)(*images.stride())
