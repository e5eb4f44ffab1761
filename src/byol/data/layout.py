"""The order of axes of images given as arrays or tensors, by one rule.

Torch tensors are channels-first, numpy arrays channels-last, and the shape must fit that order. A shape fits an order if
the channels are 1, 3 or 4, or fewer than both sides. If the shape does not fit the order of the type, or fits the other
order too, the images are refused until the user gives `layout`.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from byol.errors import DataError

Layout = Literal["", "NHW", "NHWC", "NCHW"]
"""Order of the axes: N images, H height, W width, C channels. Empty: by the rule of this module."""
USUAL_CHANNELS = (1, 3, 4)
SMALLEST_SIDE = 5
"""Smallest side, in pixels, of a colour picture that could be mistaken for a stack of grey pictures."""


def as_stack(images: Any, layout: str = "") -> NDArray[Any]:
    """(N, H, W) or (N, H, W, C) array, or (N, C, H, W) tensor of numbers -> (N, H, W, C) array that shares the memory.

    Raises DataError for truth values and what is no number, for floats in memory beyond 0 to 1, or if type and shape leave the order of the axes open.
    """
    if layout not in get_args(Layout):
        raise DataError(f"There is no layout {layout!r}; there are {', '.join(filter(None, get_args(Layout)))}.")
    pixels = _as_array(images)
    order = layout or _layout(pixels.shape, first=isinstance(images, torch.Tensor))
    if len(order) != pixels.ndim:
        raise DataError(f"The layout {order} has {len(order)} axes; the images have the shape {pixels.shape}.")
    if order == "NHW":
        return pixels[..., None]
    return pixels.transpose(0, 2, 3, 1) if order == "NCHW" else pixels


def as_picture(image: Any, layout: str = "") -> NDArray[Any]:
    """One image, (H, W), (H, W, C) or, as a tensor, (C, H, W) -> (H, W, C). Raises DataError as `as_stack` does."""
    if not layout and getattr(image, "ndim", 0) not in (2, 3):
        raise DataError(f"it has the shape {tuple(getattr(image, 'shape', ()))}, which is not a picture")
    order = layout or ("NHW" if image.ndim == 2 else "")
    return as_stack(image[None], order)[0]


def as_stored_picture(values: NDArray[Any], layout: str = "") -> NDArray[Any]:
    """The array of a file of one picture, (H, W), (H, W, C) or, with `layout` NCHW, (C, H, W) -> (H, W, C).

    Raises DataError if it is no picture, or if the shape leaves the order of the axes open.
    """
    shape = values.shape
    if values.ndim == 2 and values.size:
        return values[..., None]
    if values.ndim != 3 or not values.size or layout == "NHW":
        raise DataError(
            f"it has the shape {shape}, which is no picture, (H, W) or (H, W, C); give a file of many pictures by its own name"
        )
    a, b, c = shape
    if not layout and (not _agrees(c, a, b) or _agrees(a, b, c)):
        raise DataError(
            f"its shape {shape} is {a} x {b} px with {c} channels (--layout NHWC), {b} x {c} px with {a} channels "
            f"(--layout NCHW), or {a} grey pictures, which are read from a file that --data names; say which"
        )
    return values.transpose(1, 2, 0) if layout == "NCHW" else values


def _as_array(images: Any) -> NDArray[Any]:
    pixels = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if pixels.dtype.kind not in "iuf":
        advice = " Give images * np.uint8(255)." if pixels.dtype == bool else ""
        raise DataError(f"Images are integers or floats; found {pixels.dtype} of shape {pixels.shape}.{advice}")
    if pixels.dtype.kind == "f" and pixels.size and not isinstance(images, np.memmap):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            seen = f"from {low:g} to {high:g}" if np.isfinite(low + high) else "to NaN or infinity"
            raise DataError(
                f"Images as floats in memory go from 0 to 1; these go {seen}: scale them, undo a normalisation first."
            )
    return pixels


def _layout(shape: tuple[int, ...], *, first: bool) -> str:
    """The layout of images of `shape`. `first`: whether the type has channels first. Raises DataError if it is not clear."""
    if len(shape) == 3:
        return _stack_of_grey(shape, first=first)
    if len(shape) != 4:
        advice = "One grey picture is array[None]." if len(shape) == 2 else ""
        raise DataError(
            f"Images have the shape (N, H, W) or (N, H, W, C), tensors (N, C, H, W); found {shape}. {advice}".rstrip()
        )
    _, a, b, c = shape
    fits = {"NHWC": _agrees(c, a, b), "NCHW": _agrees(a, b, c)}
    own, other = ("NCHW", "NHWC") if first else ("NHWC", "NCHW")
    if shape[1:] == (1, 1, 1) or (fits[own] and not fits[other]):
        return own
    kind, place = ("tensors", "first") if first else ("arrays", "last")
    raise DataError(
        f"Images of shape {shape} are {b} x {c} px with {a} channels (layout NCHW) or {a} x {b} px with {c} channels "
        f"(layout NHWC); channels come {place} in {kind}, and {'the shape fits both' if fits[own] else 'the shape does not fit that'}. "
        f"Move the axes, e.g. by {_move(first)}, or name the layout."
    )


def _move(first: bool) -> str:
    return "tensor.permute(0, 3, 1, 2)" if first else "array.transpose(0, 2, 3, 1)"


def _agrees(channels: int, height: int, width: int) -> bool:
    return channels in USUAL_CHANNELS or channels < min(height, width)


def _stack_of_grey(shape: tuple[int, ...], *, first: bool) -> str:
    """NHW. Raises DataError if the three axes could be one colour picture as well."""
    a, b, c = shape
    readings = []
    if c in USUAL_CHANNELS and min(a, b) >= SMALLEST_SIDE:
        readings.append(f"one picture of {a} x {b} px with {c} channels (give images[None])")
    if a in USUAL_CHANNELS and a > 1 and min(b, c) >= SMALLEST_SIDE:
        readings.append(
            f"one picture of {b} x {c} px with {a} channels (give {'images[None]' if first else 'images.transpose(1, 2, 0)[None]'})"
        )
    if not readings:
        return "NHW"
    raise DataError(
        f"Images of shape {shape} are {a} grey pictures of {b} x {c} px (layout NHW) or {' or '.join(readings)}. Say which."
    )
