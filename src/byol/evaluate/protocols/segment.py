"""Segmentation from frozen maps: a linear classifier of the cells (a 1x1 convolution), and the vote of the nearest cells.

Neither protocol here changes the encoder; `segment_finetune` does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from byol.data.masks import MaskedImages
from byol.errors import DataError
from byol.evaluate.linear import Axes, LinearProbe, path, soft_cross_entropy
from byol.evaluate.nearest import nearest
from byol.evaluate.protocols.dense import Classifier, count_by_image, held_out, map_settings, maps_of, sources
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.evaluate.segmentation import cell_labels, class_ious, segmentation_scores

STRENGTHS = {
    "paper": tuple(10.0 ** (step / 2) for step in range(2, -13, -1)),
    "default": tuple(10.0**step for step in range(0, -6, -1)),
    "smoke": (0.1, 0.001),
}
"""L2 strengths to try, strong to weak, by budget."""
CELL_BYTES = 2**28
"""Largest size of the training cells' features, in bytes; of more cells a random part is taken, the same number from each image."""
MASKS_KNOWN = (1, 5, 20)
"""Numbers of training images whose masks are known, in the vote of the nearest cells."""
DRAWS = {"paper": 5, "default": 5, "smoke": 1}
"""Number of random draws of these images, by budget."""
NEIGHBOURS, TEMPERATURE = 30, 0.02
"""Number of cells that vote, and the temperature of their weights exp(cosine / temperature) (Balazevic et al. 2023)."""


def segment(job: Job) -> Outcome:
    """Mean IoU of a linear classifier of the cells of frozen maps.

    It minimises the cross-entropy of all pixels, each classified by its cell, by L-BFGS. The L2 strength is chosen by the mean
    IoU on the data's validation images, or on a tenth of the training images; then it is fitted to all of them. Scores of the
    cells are interpolated to the size of the mask.
    """
    train, test = sources(job, MaskedImages)
    fitted, validation = held_out(job, len(train))
    strengths = STRENGTHS[job.budget]
    cells = _training_cells(job, train)
    chosen = _Fit(cells.of(fitted))
    path_of_weights = [chosen.probe(weight) for weight in chosen.path(strengths)]
    counts = count_by_image(job, train.part(validation, train.description), [probe.scores for probe in path_of_weights], job.options.segment, "choosing the strength")  # fmt: skip
    ious = [float(np.nanmean(class_ious(part.sum(axis=0)))) for part in counts]
    best = int(np.argmax(ious))
    final = _Fit(cells)
    probe = final.probe(final.path(strengths[: best + 1])[-1])
    tested = count_by_image(job, test, [probe.scores], job.options.segment, "segmenting")
    return Outcome(
        metrics=segmentation_scores(tested, train.pixel_classes.names, job.seed),
        settings={
            "l2_strength": strengths[best],
            **map_settings(job, job.options.segment),
            "validation_images": len(validation),
            "strengths": list(strengths),
            "cells": len(cells.features),
            "objective": "mean cross-entropy of the pixels, each classified by its cell, + strength / 2 |W|^2",
            "ignored_label": job.options.segment.ignore,
        },
        differs=job.differs("a linear classifier on frozen maps, where the paper fine-tunes an FCN"),
        caution=_edge(best, strengths),
        extras={"validation": [{"strength": s, "miou": 100 * iou} for s, iou in zip(strengths, ious, strict=True)]},
    )


def segment_knn(job: Job) -> Outcome:
    """Mean IoU of the vote of the nearest cells of 1, 5 and 20 training images with their masks; nothing is trained.

    Each cell of those images votes with the classes of its pixels, by cosine; the mean over draws of the images counts.
    """
    train, test = sources(job, MaskedImages)
    numbers = [count for count in MASKS_KNOWN if count <= len(train)]
    draws, order = DRAWS[job.budget], np.random.default_rng(job.seed)
    known = [[order.permutation(len(train))[:count] for _ in range(draws)] for count in numbers]
    used = np.unique(np.concatenate([images for group in known for images in group]))
    cells = _training_cells(job, train.part(used, train.description))
    votes = [_vote(cells.of(np.searchsorted(used, images))) for group in known for images in group]
    counts = count_by_image(job, test, votes, job.options.segment, "segmenting").reshape(
        len(numbers), draws, len(test), 3, -1
    )
    scores = [segmentation_scores(group, train.pixel_classes.names, job.seed) for group in counts]
    plural = {count: f"{count} mask{'s' if count > 1 else ''}" for count in numbers}
    metrics = {f"{metric}, {plural[count]}": found[metric] for metric in ("mIoU", "pixel accuracy") for count, found in zip(numbers, scores, strict=True)}  # fmt: skip
    return Outcome(
        metrics=metrics,
        settings={
            "k": NEIGHBOURS,
            "temperature": TEMPERATURE,
            **map_settings(job, job.options.segment),
            "draws": draws,
            "ignored_label": job.options.segment.ignore,
        },
        differs=job.differs("the vote of the nearest cells, which the paper does not have"),
        extras={
            f"ious_{count}": {metric.removeprefix("IoU "): score.value for metric, score in found.items() if metric.startswith("IoU ")}
            for count, found in zip(numbers, scores, strict=True)
        },
    )  # fmt: skip


def _edge(best: int, strengths: tuple[float, ...]) -> str:
    if len(strengths) > 2 and best in (0, len(strengths) - 1):
        return f"the best strength, {strengths[best]:g}, is the {'highest' if best == 0 else 'lowest'} of those tried"
    return ""


@dataclass(frozen=True)
class _Cells:
    """Features of cells, and the pixels of each class in them."""

    features: Tensor
    """(M, D)."""
    labels: Tensor
    """(M, C)."""
    images: Tensor
    """(M,) index of each cell's image."""

    def of(self, images: NDArray[np.int64]) -> "_Cells":
        """The cells of some images."""
        inside = torch.isin(self.images, torch.from_numpy(np.asarray(images)))
        return _Cells(self.features[inside], self.labels[inside], self.images[inside])


def _training_cells(job: Job, source: MaskedImages) -> _Cells:
    """Cells with at least one labelled pixel of all images, or a random part of them."""
    generator, num_classes = torch.Generator().manual_seed(job.seed), len(source.pixel_classes.names)
    features, labels, images = [], [], []
    for index, values in maps_of(job, source, job.options.segment, "reading training maps"):
        depth, rows, columns = values.shape
        counts = cell_labels(source.mask(index), rows, columns, num_classes)
        places = counts.sum(dim=1).nonzero().flatten()
        most = max(1, CELL_BYTES // (4 * depth * len(source)))
        if len(places) > most:
            places = places[torch.randperm(len(places), generator=generator)[:most]]
        features.append(values.flatten(1).T[places])
        labels.append(counts[places])
        images.append(torch.full((len(places),), index))
    cells = _Cells(torch.cat(features), torch.cat(labels), torch.cat(images))
    if not len(cells.features):
        raise DataError(f"{source.description} has no labelled pixel: every one is ignored.")
    return cells


class _Fit:
    """The fit of a linear classifier to cells."""

    def __init__(self, cells: _Cells) -> None:
        self.axes = Axes.of(cells.features)
        self.inputs = self.axes.inputs(cells.features)
        self.labels = cells.labels

    def path(self, strengths: tuple[float, ...]) -> list[Tensor]:
        """Weights for each strength, strong to weak."""
        loss = soft_cross_entropy(self.labels)
        return path(self.inputs, loss, self.labels.shape[1], strengths, self.axes.variance)

    def probe(self, weight: Tensor) -> LinearProbe:
        return LinearProbe(weight, self.axes, 0.0, ())


def _vote(cells: _Cells) -> Classifier:
    """Shares of the classes among the pixels of the nearest cells, weighted by cosine."""
    shares = cells.labels / cells.labels.sum(dim=1, keepdim=True)

    def scores(features: Tensor) -> Tensor:
        cosines, places = nearest(features, cells.features, min(NEIGHBOURS, len(cells.features)))
        weights = functional.softmax(cosines / TEMPERATURE, dim=1)
        return (weights[..., None] * shares[places]).sum(dim=1)

    return scores
