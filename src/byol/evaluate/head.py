"""A classifier's head: logistic regression on vectors, with calibrated probabilities and a threshold of certainty.

L2 strength and temperature are those with the lowest cross-entropy on held-out images (cross-validation); then the head is
fitted to all images. Images with several labels get one logistic regression per label, all with the same strength and
temperature. Temperature: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from byol.evaluate.linear import Axes, Indices, loss_of, path, stratified_folds

STRENGTHS = tuple(10.0**exponent for exponent in range(2, -5, -1))
"""L2 strengths to try, 100 to 1e-4, strong to weak."""
MOST_FOLDS = 5
MOST_REPEATS, ENOUGH = 5, 100
"""Largest number of divisions into folds, and number of held-out predictions after which there is no further one."""
LARGEST_INVERSE = 1e4
"""Largest inverse of a temperature."""


@dataclass(frozen=True)
class HeldOut:
    """Predictions for labelled images by heads that were fitted to other images. An image may occur several times."""

    rows: Tensor
    """(M,) index of each prediction's image."""
    labels: Tensor
    """(M,) class, or (M, C) labels of 1, -1 and 0 (unknown), of the image."""
    logits: Tensor
    """(M, C) logits before calibration."""
    temperature: float
    """Temperature by which logits are divided."""

    def probabilities(self, *, calibrated: bool = True) -> Tensor:
        """(M, C) probabilities, after or before calibration."""
        return probabilities(self.logits / (self.temperature if calibrated else 1), several=self.labels.dim() == 2)


@dataclass(frozen=True)
class Head:
    """A fitted linear layer whose logits are calibrated: their softmax, or sigmoid with several labels, is a probability."""

    weight: Tensor
    """(C, D) weights, divided by the temperature."""
    bias: Tensor
    """(C,) biases, divided by the temperature."""
    strength: float
    """L2 strength with the lowest cross-entropy on held-out images."""
    held_out: HeldOut


def probabilities(logits: Tensor, *, several: bool) -> Tensor:
    """Probabilities of (M, C) logits: the softmax over the classes, or the sigmoid of each if images have several labels."""
    return logits.sigmoid() if several else logits.softmax(dim=1)


def fit_head(
    vectors: Tensor, labels: Tensor, num_classes: int, *, seed: int = 0, strengths: tuple[float, ...] = STRENGTHS
) -> Head:
    """Head fitted to (N, D) vectors with (N,) classes, or (N, C) labels of 1, -1 and 0 (unknown).

    Every class that is held out has two images or more (`folds_of`). The same seed gives the same head.
    """
    axes = Axes.of(vectors)
    inputs = axes.inputs(vectors)
    rows: list[NDArray[np.int64]] = []
    logits: list[list[Tensor]] = [[] for _ in strengths]
    for fitted, out in folds_of(labels, seed):
        weights = path(inputs[fitted], loss_of(labels[fitted]), num_classes, strengths, axes.variance)
        for part, weight in zip(logits, weights, strict=True):
            part.append(inputs[out] @ weight)
        rows.append(out)
    places = torch.from_numpy(np.concatenate(rows))
    found = [calibrate(torch.cat(part), labels[places], len(vectors)) for part in logits]
    best = min(range(len(strengths)), key=lambda number: found[number][1])
    temperature = found[best][0]
    weight, bias = fit_layer(vectors, labels, num_classes, strengths[: best + 1], axes)
    held_out = HeldOut(places, labels[places], torch.cat(logits[best]), temperature)
    return Head(weight / temperature, bias / temperature, strengths[best], held_out)


def fit_layer(
    vectors: Tensor, labels: Tensor, num_classes: int, strengths: tuple[float, ...], axes: Axes | None = None
) -> tuple[Tensor, Tensor]:
    """((C, D) weights, (C,) biases) fitted to all (N, D) vectors with the last of the strengths."""
    axes = axes or Axes.of(vectors)
    return axes.layer(path(axes.inputs(vectors), loss_of(labels), num_classes, strengths, axes.variance)[-1])


def folds_of(labels: Tensor, seed: int) -> list[Indices]:
    """The (fitted, held out) indices of all folds: divided again while there are few predictions.

    There are five folds, or as many as the largest class has images. The only image of a class is never held out. Of images
    with several labels the rarest label counts. Empty if no class has two images.
    """
    classes = _rarest(labels) if labels.dim() == 2 else labels.numpy()
    counts = np.unique(classes, return_counts=True)[1]
    if counts.max() < 2:
        return []
    folds = min(MOST_FOLDS, int(counts.max()))
    repeats = max(1, min(MOST_REPEATS, ENOUGH // int(counts[counts > 1].sum())))
    return [part for repeat in range(repeats) for part in stratified_folds(classes, folds, seed + repeat)]


def _rarest(labels: Tensor) -> NDArray[np.int64]:
    """(N,) the rarest label of each image with (N, C) labels; C for an image with none."""
    has = labels > 0
    counts = has.sum(dim=0).expand_as(has)
    rarest = counts.masked_fill(~has, len(labels) + 1).argmin(dim=1)
    return torch.where(has.any(dim=1), rarest, labels.shape[1]).numpy()


def calibrate(logits: Tensor, labels: Tensor, num_images: int) -> tuple[float, float]:
    """(temperature with the lowest cross-entropy, that cross-entropy) of (M, C) logits with (M,) or (M, C) labels.

    One more image, with a label drawn evenly, counts among the `num_images`: without it the temperature of a few images, all
    of them right, would be 0 and every probability 1. The slope over the inverse temperature rises, so that bisection finds its root.
    """
    several = labels.dim() == 2
    logits = logits.double()
    share = 1 / (num_images + 1)
    if several:
        known = (labels != 0).double()
        targets = (labels > 0).double() * (1 - share) + share / 2
    else:
        known = torch.ones(len(logits), 1, dtype=torch.float64)
        targets = functional.one_hot(labels, logits.shape[1]).double() * (1 - share) + share / logits.shape[1]
    low, high = math.log(1 / LARGEST_INVERSE), math.log(LARGEST_INVERSE)
    for _ in range(50):
        middle = (low + high) / 2
        surplus = probabilities(logits * math.exp(middle), several=several) - targets
        if float((surplus * logits * known).sum()) < 0:
            low = middle
        else:
            high = middle
    scaled = logits * math.exp((low + high) / 2)
    if several:
        loss = functional.binary_cross_entropy_with_logits(scaled, targets, known, reduction="sum") / known.sum()
    else:
        loss = -(targets * scaled.log_softmax(dim=1)).sum(dim=1).mean()
    return math.exp(-(low + high) / 2), float(loss)
