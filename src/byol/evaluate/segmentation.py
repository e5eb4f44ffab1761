"""Classes of the pixels from maps: labels of cells, predictions at the size of the mask, intersection over union."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from byol.data.masks import IGNORED
from byol.errors import DataError
from byol.evaluate.metrics import RESAMPLES
from byol.evaluate.scores import Score


def cell_labels(mask: NDArray[np.uint8], rows: int, columns: int, num_classes: int) -> Tensor:
    """(rows * columns, num_classes) float32: the number of pixels of each class in each cell of an (H, W) mask, but for ignored ones."""
    down, across = (np.arange(side) * cells // side for side, cells in zip(mask.shape, (rows, columns), strict=True))
    known = mask != IGNORED
    places = ((down[:, None] * columns + across) * num_classes + mask)[known]
    counts = np.bincount(places, minlength=rows * columns * num_classes)
    return torch.from_numpy(counts).float().view(-1, num_classes)


def predict_pixels(scores: Tensor, height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) class of every pixel by scores (C, h, w) of the cells, interpolated linearly."""
    pixels = interpolate_cells(scores, height, width)
    return pixels.numpy().argmax(axis=0).astype(np.uint8)  # argmax of torch takes four times as long


def interpolate_cells(values: Tensor, height: int, width: int) -> Tensor:
    """(C, height, width) values of the pixels by those of the cells, (C, h, w), interpolated linearly."""
    rows, columns = (_linear(cells, pixels) for cells, pixels in zip(values.shape[1:], (height, width), strict=True))
    return rows @ (values.float() @ columns.T)


@lru_cache(maxsize=64)
def _linear(cells: int, pixels: int) -> Tensor:
    """(pixels, cells) weights of linear interpolation between the centres of the cells."""
    return functional.interpolate(torch.eye(cells)[None], pixels, mode="linear", align_corners=False)[0].T.contiguous()


def count_pixels(predicted: NDArray[np.uint8], mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """(3, num_classes) pixels of each class that are right, predicted and in the mask; ignored pixels count nowhere."""
    known = mask != IGNORED
    predicted, truth = predicted[known], mask[known]
    parts = truth[predicted == truth], predicted, truth
    return np.stack([np.bincount(part, minlength=num_classes) for part in parts])


def class_ious(counts: NDArray) -> NDArray[np.float64]:
    """(..., C) intersection over union from (..., 3, C) sums of `count_pixels`; NaN for a class that no mask holds."""
    right, predicted, truth = (counts[..., row, :].astype(np.float64) for row in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(truth > 0, right / (predicted + truth - right), np.nan)


@dataclass(frozen=True)
class _Statistics:
    """Fractions by resample: (R,), (R,) and (R, C)."""

    mean_iou: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ious: NDArray[np.float64]


def segmentation_scores(counts: NDArray[np.int64], names: list[str], seed: int = 0) -> dict[str, Score]:
    """Mean IoU, pixel accuracy and the IoU of each class in percent, with 95 % intervals by bootstrap over images.

    `counts`: (draws, N, 3, C) of `count_pixels`; a score is the mean over the draws. Classes that no mask holds are left out;
    a resample without a class leaves it out, too. Raises DataError if no pixel is labelled.
    """
    draws, images = counts.shape[:2]
    present = counts[0, :, 2].sum(axis=0) > 0
    if not present.any():
        raise DataError("The masks of the test images hold no labelled pixel: every one is ignored.")
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    whole = [_statistics(draw.sum(axis=0)[None], present) for draw in counts]
    again = [_statistics(np.tensordot(weights, draw, 1), present) for draw in counts]

    def score(values: str, place: int | None = None) -> Score:
        def mean(parts: list[_Statistics]) -> NDArray[np.float64]:
            found = sum(getattr(part, values) for part in parts) / draws
            return found if place is None else found[:, place]

        low, high = np.nanquantile(mean(again), (0.025, 0.975))
        return Score(100 * float(mean(whole)[0]), 100 * float(low), 100 * float(high))

    ious = {f"IoU {names[number]}": score("ious", place) for place, number in enumerate(np.flatnonzero(present))}
    return {"mIoU": score("mean_iou"), "pixel accuracy": score("accuracy"), **ious}


def _statistics(sums: NDArray, present: NDArray[np.bool_]) -> _Statistics:
    ious = class_ious(sums)[:, present]
    return _Statistics(np.nanmean(ious, axis=1), sums[:, 0].sum(axis=1) / sums[:, 2].sum(axis=1), ious)
