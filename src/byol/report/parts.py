"""Parts of images: the maps' first three principal components as colours, and vectors to find similar places by."""

import base64
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from byol.data.source import Image, SkippedImages
from byol.encoder.encoder import Encoder
from byol.evaluate.read_maps import read_maps
from byol.report.look import Sample, ThumbnailSubset
from byol.report.tile import Sheet, sheet

MOST_IMAGES, QUICK_IMAGES = 100, 40
"""Largest number of images with parts: in a report that was asked for, and in the one at the end of a training."""
SIDE = 128
"""Side of a picture in pixels."""
DEPTH = 24
"""Number of principal axes of the cells that the page compares places by."""
FAINT = 0.25
"""Brightness of the background, as a fraction of the image's."""
LEVELS = 128
"""Number of thresholds that are tried between foreground and background."""
FEWEST_SHARE = 0.02
"""Smallest share of foreground or background; with less all cells are foreground."""


@dataclass(frozen=True)
class Parts:
    """Pictures of images and of their parts, and what the page needs to compare places."""

    images: Sheet
    colours: Sheet
    content: dict[str, Any]


def find_parts(encoder: Encoder, sample: Sample, device: torch.device, most: int, size: int = 0) -> Parts:
    """The parts of up to `most` images of the sample. Raises EncoderError if the encoder gives no maps."""
    chosen = replace(sample, indices=sample.indices[:most], tiles={}, sides={}, side=SIDE)
    subset = ThumbnailSubset(chosen, chosen.indices)
    maps: dict[int, Tensor] = {}
    for numbers, values in read_maps(encoder, subset, device, size=size, skipped=SkippedImages()):
        maps |= dict(zip(numbers, values, strict=True))
    order = sorted(maps)
    grids = [(maps[number].shape[1], maps[number].shape[2]) for number in order]
    cells = torch.cat([maps[number].flatten(1).T for number in order])
    border = torch.cat([_border(*grid) for grid in grids])
    colours, axes = part_colours(cells, border), principal_scores(centred_unit(cells), DEPTH)
    places = [int(chosen.indices[number]) for number in order]
    pictures = [
        _picture(part, grid, chosen.sides[place], chosen.tiles[place])
        for part, grid, place in zip(
            colours.split([rows * columns for rows, columns in grids]), grids, places, strict=True
        )
    ]
    vectors = (127 * functional.normalize(axes, dim=1)).round().to(torch.int8)
    content = {
        "names": [sample.source.name(place) for place in places],
        "grids": grids,
        "boxes": [_box(*chosen.sides[place]) for place in places],
        "depth": vectors.shape[1],
        "vectors": base64.b64encode(vectors.numpy().tobytes()).decode(),
    }
    images, coloured = sheet([chosen.tiles[place] for place in places]), sheet(pictures)
    return Parts(images, coloured, {**content, "sheet": {**images.place(), "pixelated": False}})


def centred_unit(cells: Tensor) -> Tensor:
    """(M, D) unit vectors of the cells, without their mean: what all cells share tells no parts apart."""
    unit = functional.normalize(cells, dim=1)
    return unit - unit.mean(dim=0)


def principal_scores(centred: Tensor, count: int) -> Tensor:
    """(M, count) scores of centred vectors on their first principal axes, largest variance first; fewer if there are fewer axes."""
    spread, basis = torch.linalg.eigh((centred.T @ centred / len(centred)).double())
    first = spread.argsort(descending=True)[:count]
    return centred @ basis[:, first].to(centred.dtype)


def part_colours(cells: Tensor, border: Tensor) -> Tensor:
    """(M, 4) colour in [0, 1] and foreground (0 or 1) of each of (M, D) cells.

    The first principal axis splits foreground and background at Otsu's threshold; the foreground is the side with the smaller
    share of the `border`, (M,) bool. The first three principal axes of the foreground are red, green and blue (Oquab et al. 2023),
    each stretched between its 2 % and 98 % quantiles.
    """
    centred = centred_unit(cells)
    first = principal_scores(centred, 1)[:, 0]
    foreground = first > otsu(first)
    if foreground[border].float().mean() > foreground[~border].float().mean():
        foreground = ~foreground
    if not FEWEST_SHARE <= foreground.float().mean() <= 1 - FEWEST_SHARE:
        foreground = torch.ones_like(foreground)
    inside = cells[foreground]
    scores = principal_scores(centred_unit(inside), 3)
    scores = functional.pad(scores, (0, 3 - scores.shape[1]))
    low, high = scores.quantile(torch.tensor([0.02, 0.98]), dim=0) if len(scores) <= 2**20 else scores.aminmax(dim=0)
    colours = torch.zeros(len(cells), 4)
    colours[foreground, :3] = ((scores - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    colours[:, 3] = foreground.float()
    return colours


def otsu(values: Tensor) -> float:
    """Threshold of (M,) values with the largest variance between the two sides (Otsu 1979)."""
    low, high = values.aminmax()
    levels = torch.linspace(float(low), float(high), LEVELS + 2)[1:-1]
    order = values.sort().values
    counts = torch.searchsorted(order, levels).clamp(1, len(order) - 1)
    sums = order.double().cumsum(0)
    below, above = sums[counts - 1] / counts, (sums[-1] - sums[counts - 1]) / (len(order) - counts)
    between = counts * (len(order) - counts) * (above - below).square()
    return float(levels[between.argmax()])


def _border(rows: int, columns: int) -> Tensor:
    """(rows * columns,) bool: whether a cell lies at the edge of its image."""
    edge = torch.ones(rows, columns, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return edge.flatten()


def _box(height: int, width: int) -> list[float]:
    """Left, top, width and height of the image in its tile, as fractions of the tile's side."""
    longest = max(height, width)
    return [round(value, 4) for value in ((1 - width / longest) / 2, (1 - height / longest) / 2, width / longest, height / longest)]  # fmt: skip


def _picture(colours: Tensor, grid: tuple[int, int], sides: tuple[int, int], image: Image) -> Image:
    """The tile of one image's parts: colours of the foreground, the image itself, dark, behind."""
    left, top, width, height = (round(SIDE * value) for value in _box(*sides))
    large = functional.interpolate(colours.T.view(1, 4, *grid), (max(1, height), max(1, width)), mode="bilinear")[0]
    pixels = large.permute(1, 2, 0).numpy()
    out = image.copy()
    area = out[top : top + max(1, height), left : left + max(1, width)]
    pixels = pixels[: area.shape[0], : area.shape[1]]
    solid = pixels[..., 3:] > 0.5
    bright = pixels[..., :3] / np.maximum(pixels[..., 3:], 1e-6)
    area[...] = np.where(solid, 255 * bright.clip(0, 1), FAINT * area).astype(np.uint8)
    return out
