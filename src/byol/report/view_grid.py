"""A grid of images and their views as the network gets them, with a description of each view."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from byol.data.pairs import Partners
from byol.data.source import Image, ImageSource
from byol.data.things import Things
from byol.errors import BrokenImageError, DataError
from byol.report.display import display
from byol.report.tile import tile
from byol.views.geometry import crop_window
from byol.views.parameters import COLOR_OPERATIONS, ViewParameters
from byol.views.policy import ViewPolicy
from byol.views.sensor import band_changes
from byol.views.views import Views

NAMED = frozenset(("flip", "jitter", "vertical_flip", "band_jitter"))
"""Switches of a view that are described by words of their own."""


@dataclass(frozen=True)
class ViewGrid:
    """Grid with one row per image: the image, then its views T and T' of each draw."""

    tiles: list[Image]
    """Tiles row by row, (S, S, 3) uint8."""
    words: list[str]
    """Description of each tile."""
    columns: int
    rows: int
    shown: str = ""
    """Channels and values that are shown, in words; empty if images are shown as they are."""


def view_grid(
    views: Views,
    images: list[Image],
    names: list[str],
    *,
    draws: int = 3,
    side: int = 0,
    channels: Sequence[int] = (),
    partners: Sequence[Sequence[tuple[Image, str]]] = (),
) -> ViewGrid:
    """The grid of (H, W, C) images with the views of a run's first `draws` steps.

    `side`: side of a tile; 0: that of the views. `channels`: those that are shown, counted from 1 (`display`). `partners`:
    picture and name that view T' of each image is of, draw by draw (`partners_of`); empty: the image itself.
    """
    show = display(images, channels)
    views = replace(views, batch_size=len(images))  # row i of a step does not depend on the number of rows
    side = side or views.size
    tiles, words = [], []
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        tiles.append(tile(show(image), side))
        words.append(f"{name}, {image.shape[1]} x {image.shape[0]} pixels")
        for step in range(draws):
            partner, other = partners[row][step] if partners else (image, name)
            pair = views.finish(views.crop(image, step, row, partner if partners else None)[None], step, row)
            titles = ("T", image), (f"T′ of {other}" if partners else "T′", partner)
            for view, plan, (title, shown) in zip(pair, views.roles, titles, strict=True):
                tiles.append(tile(show(view[0].permute(1, 2, 0).numpy()), side))
                parameters = views.parameters(plan.draw, step, slice(row, row + 1))
                words.append(f"{title}: {describe(parameters, plan.draw.policy, views, shown)}")
    return ViewGrid(tiles, words, 1 + 2 * draws, len(images), show.words)


def describe(parameters: ViewParameters, policy: ViewPolicy, views: Views, image: Image) -> str:
    """The operations that made a view of one (H, W, C) image, in their order, with their strengths."""
    p = parameters
    high, wide, channels = image.shape
    height, width = crop_window(p, high, wide, views.semantics)[0, 2:].tolist()
    operations = [f"crop {width} x {height} ({100 * width * height / (wide * high):.0f} % of the area)"]
    if bool(p.flip):
        operations.append("flip")
    if bool(p.vertical_flip):
        operations.append("vertical flip")
    if bool(p.quarter_turns):
        operations.append(f"rotation by {90 * int(p.quarter_turns)} degrees")
    if bool(p.jitter):
        names = [COLOR_OPERATIONS[number] for number in p.order[0].tolist()]
        operations += [
            f"{name} {float(getattr(p, name)):+.2f}"
            for name in names
            if channels == 3 or name in ("brightness", "contrast")
        ]
    operations += _bands(p, policy, channels)
    amounts = {"noise": f" sigma {float(p.noise_sigma):.3f}"}
    amounts |= {"blur": f" sigma {float(p.sigma):.2f}", "solarize": f" from {policy.solarize_threshold:g}"}
    for field in fields(p):
        is_switch = getattr(p, field.name).dtype == torch.bool and field.name not in NAMED
        if is_switch and bool(getattr(p, field.name)) and (field.name != "grayscale" or channels == 3):
            operations.append(field.name + amounts.get(field.name, ""))
    return ", ".join(operations)


def _bands(p: ViewParameters, policy: ViewPolicy, channels: int) -> list[str]:
    """The changed gains and offsets of a view's channels, smallest to largest, and the lost channels, counted from 1."""
    gain, offset = band_changes(p, policy, channels)[0].unbind(1)
    lost, words = gain == 0, []
    if bool(p.band_jitter):
        gains, offsets = gain[~lost], offset[~lost]
        words.append(f"gain {float(gains.min()):.2f} to {float(gains.max()):.2f}")
        words.append(f"offset {float(offsets.min()):+.2f} to {float(offsets.max()):+.2f}")
    if bool(lost.any()):
        words.append(f"without channel {', '.join(str(1 + i) for i in lost.nonzero().flatten().tolist())}")
    return words


def readable(
    source: ImageSource, channels: int, wanted: int, looked_at: int, *, seed: int = 0, short_side: int = 0
) -> tuple[list[Image], list[int]]:
    """(images, their indices) of the first `wanted` images that can be decoded, out of `looked_at` random ones.

    Raises DataError if none can be decoded.
    """
    images, indices = [], []
    for index in spread(len(source), looked_at, seed):
        try:
            images.append(source.read(index, channels, short_side))
        except BrokenImageError:
            continue
        indices.append(index)
        if len(images) == wanted:
            break
    if not images:
        raise DataError(f"None of the {looked_at} images that were tried in {source.description} can be decoded.")
    return images, indices


def partners_of(
    source: ImageSource, indices: list[int], things: Things, seed: int, draws: int, channels: int, short_side: int = 0
) -> list[list[tuple[Image, str]]]:
    """(picture, name) of the partner of each image in the first `draws` epochs of a training with this seed."""
    partners = Partners(things.numbers, seed)

    def read(index: int, epoch: int) -> tuple[Image, str]:
        for candidate in partners.candidates(index, epoch * len(source)):
            with contextlib.suppress(BrokenImageError):
                return source.read(candidate, channels, short_side), source.name(candidate)
        return source.read(index, channels, short_side), source.name(index)

    return [[read(index, epoch) for epoch in range(draws)] for index in indices]


def spread(count: int, wanted: int, seed: int = 0) -> list[int]:
    """Up to `wanted` different random indices below `count`, sorted."""
    return sorted(np.random.default_rng(seed).permutation(count)[:wanted].tolist())
