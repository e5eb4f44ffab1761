"""Reference implementation of the paper's views and of the further operations, one image at a time in float64: the oracle of the batched ones.

It shares nothing with the batched operations but the drawn parameters.
"""

import colorsys
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from byol.views.parameters import ViewParameters
from byol.views.policy import ViewPolicy

Pixels = NDArray[np.float64]
"""(H, W, C), in [0, 1]."""


def reference_view(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    parameters: ViewParameters,
    policy: ViewPolicy,
    size: int,
    *,
    antialias: bool = False,
) -> Pixels:
    """(size, size, C): the view of one (H, W, C) image that the single row of `parameters` describes (Table 6)."""
    p = {name: values[0].tolist() for name, values in vars(parameters).items()}
    top, left, height, width = window(p, image.shape[0], image.shape[1])
    white = np.iinfo(image.dtype).max
    view = resize(image[top : top + height, left : left + width] / white, size, antialias)
    if p["flip"]:
        view = view[:, ::-1]
    if p["vertical_flip"]:
        view = view[::-1]
    view = np.rot90(view, p["quarter_turns"])
    if p["jitter"]:
        for operation in p["order"]:
            view = color_operation(operation, view, p)
    view = bands(view, p, policy)
    if p["grayscale"] and view.shape[2] == 3:
        grey = 0.2989 * view[:, :, 0] + 0.5870 * view[:, :, 1] + 0.1140 * view[:, :, 2]
        view = np.stack([grey, grey, grey], axis=2)
    if p["blur"]:
        view = blur(view, p["sigma"])
    if p["solarize"]:
        view = np.where(view < policy.solarize_threshold, view, 1 - view)
    if p["noise"]:
        shares = hashed(p["noise_seed"], view.size).reshape(view.shape[2], *view.shape[:2]).transpose(1, 2, 0)
        view = view + p["noise_sigma"] * np.vectorize(NormalDist().inv_cdf)(shares)
    return np.clip(view, 0, 1)


def window(p: dict, image_height: int, image_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width): area and aspect drawn once, each side then clamped to the image."""
    area, aspect = p["area"][0] * image_height * image_width, math.exp(p["log_aspect"][0])
    height = min(max(round(math.sqrt(area / aspect)), 1), image_height)
    width = min(max(round(math.sqrt(area * aspect)), 1), image_width)
    top = math.floor(p["offset"][0] * (image_height - height + 1))
    left = math.floor(p["offset"][1] * (image_width - width + 1))
    return top, left, height, width


def resize(image: Pixels, size: int, antialias: bool) -> Pixels:
    """Bicubic with a = -0.5 about half-pixel centres, over the pixels that there are; clipped."""
    rows = np.stack([_resampled(image, place, size, antialias) for place in range(size)])
    columns = [_resampled(rows.transpose(1, 0, 2), place, size, antialias) for place in range(size)]
    return np.clip(np.stack(columns, axis=1), 0, 1)


def _resampled(lines: Pixels, place: int, size: int, antialias: bool) -> Pixels:
    """The line at `place` of `size`, from lines along the first axis."""
    scale = len(lines) / size
    centre = (place + 0.5) * scale - 0.5
    stretch = max(scale, 1.0) if antialias else 1.0
    weights = np.array([_keys((line - centre) / stretch) for line in range(len(lines))])
    return np.tensordot(weights / weights.sum(), lines, axes=1).astype(np.float64)


def _keys(distance: float) -> float:
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x < 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def color_operation(operation: int, view: Pixels, p: dict) -> Pixels:
    """0 brightness, 1 contrast, 2 saturation, 3 hue; clipped. The last two leave all but RGB alone."""
    if operation == 0:
        return np.clip(view + p["brightness"], 0, 1)
    if operation == 1:
        mean = view.mean(axis=(0, 1))
        return np.clip((view - mean) * (1 + p["contrast"]) + mean, 0, 1)
    if view.shape[2] != 3:
        return view
    out = np.empty_like(view)
    for row, column in np.ndindex(view.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*view[row, column])
        if operation == 2:
            saturation = min(max(saturation * (1 + p["saturation"]), 0.0), 1.0)
        else:
            hue = (hue + p["hue"]) % 1.0
        out[row, column] = colorsys.hsv_to_rgb(hue, saturation, value)
    return np.clip(out, 0, 1)


def hashed(seed: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1): lowbias32 of seed * 0x9E3779B9 + place, of which the upper 23 bits count."""
    numbers = []
    for place in range(count):
        x = (seed * 0x9E3779B9 + place) % 2**32
        x = ((x ^ x >> 16) * 0x7FEB352D) % 2**32
        x = ((x ^ x >> 15) * 0x846CA68B) % 2**32
        x ^= x >> 16
        numbers.append(((x >> 9) + 0.5) / 2**23)
    return np.array(numbers)


def bands(view: Pixels, p: dict, policy: ViewPolicy) -> Pixels:
    """Each channel times its gain plus its offset, clipped; lost channels are 0, the one with the largest draw never."""
    channels = view.shape[2]
    changes = 2 * hashed(p["band_jitter_seed"], 2 * channels).reshape(channels, 2) - 1
    if p["band_jitter"]:
        view = view * (1 + policy.band_gain * changes[:, 0]) + policy.band_offset * changes[:, 1]
    draws = hashed(p["band_drop_seed"], channels)
    lost = (draws < policy.band_drop_probability) & (np.arange(channels) != draws.argmax())
    return np.clip(np.where(lost, 0.0, view), 0, 1)


def blur(view: Pixels, sigma: float) -> Pixels:
    """Gaussian of 2 r + 1 taps along both axes, r = floor(H / 20), with zeros outside."""
    radius = view.shape[0] // 20
    weights = np.array([math.exp(-(x**2) / (2 * sigma**2)) for x in range(-radius, radius + 1)])
    weights /= weights.sum()
    for axis in (0, 1):
        around = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(view, around)
        length = view.shape[axis]
        view = sum(  # pyright: ignore[reportAssignmentType]
            weight * padded.take(range(start, start + length), axis=axis) for start, weight in enumerate(weights)
        )
    return view
