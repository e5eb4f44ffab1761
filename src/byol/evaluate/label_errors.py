"""Likely wrong labels by confident learning, and classes that cannot be told apart (Northcutt, Jiang and Chuang 2021).

Everything is computed from (N, C) probabilities of images that the classifier was not fitted to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from byol.evaluate.linear import STRENGTHS, Axes, loss_of, path
from byol.evaluate.metrics import mean_per_class
from byol.evaluate.scores import Score

APART = 75.0
"""Accuracy in percent between two classes below which they cannot be told apart: half way from guessing to certain."""
MOST_PAIRS = 100
"""Largest number of pairs of classes that are looked at."""


def cross_validated(
    features: Tensor,
    labels: Tensor,
    *,
    folds: int = 5,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
    groups: Tensor | None = None,
) -> Tensor:
    """(N, C) log-probabilities of the classes of (N, D) features, each by a logistic regression that was fitted without the image.

    Labels (N,) are 0 to C - 1. Images of one of (N,) `groups` are left out together, because a copy gives an image's label away. The L2
    strength is the one with the highest mean log-probability of the labels in the first fold.
    """
    axes = Axes.of(features)
    inputs = axes.inputs(features)
    num_classes = int(labels.max()) + 1
    found = torch.empty(len(labels), num_classes)
    fold = _folds(labels, folds, seed, groups)
    for number in range(folds):
        fitted, out = (fold != number).nonzero()[:, 0], (fold == number).nonzero()[:, 0]
        shares = [
            (inputs[out] @ weight).log_softmax(dim=1)
            for weight in path(inputs[fitted], loss_of(labels[fitted]), num_classes, strengths, axes.variance)
        ]
        if len(shares) > 1:  # the first fold chooses
            likelihood = [float(share[torch.arange(len(out)), labels[out]].mean()) for share in shares]
            best = likelihood.index(max(likelihood))
            strengths, shares = strengths[best : best + 1], shares[best:]
        found[out] = shares[0]
    return found


def _folds(labels: Tensor, folds: int, seed: int, groups: Tensor | None) -> Tensor:
    """(N,) fold of each image: every class has its share of each, and the images of a group have that of its first one."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    fold = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        members = order[labels[order] == label]
        fold[members] = torch.arange(len(members)) % folds
    if groups is None:
        return fold
    _, first, member = np.unique(groups.numpy(), return_index=True, return_inverse=True)
    return fold[torch.from_numpy(first[member])]


@dataclass(frozen=True)
class LabelErrors:
    """The counts of confident learning, and the images that they call wrong."""

    thresholds: Tensor
    """(C,) mean probability of each class among the images labelled so: the confidence from which an image counts as one of it."""
    joint: Tensor
    """(C, C) number of images by given label (row) and likely class (column); rows sum to the number of images with the label."""
    images: Tensor
    """(E,) images with likely wrong labels: those with the lowest probabilities of their labels, lowest first, as many as the counts say."""
    suggested: Tensor
    """(E,) their most probable classes."""


def find_label_errors(probabilities: Tensor, labels: Tensor) -> LabelErrors:
    """Likely wrong ones among (N,) labels 0 to C - 1, by (N, C) probabilities of images that are not fitted to.

    An image counts as one of class j if the probability of j is at least the mean one among the images labelled j; of several such
    classes the most probable one counts. The counts over (label, class) are scaled to the number of images with each label; those off the diagonal
    say how many labels are wrong. An image whose own class is the most probable one is never called wrong.
    """
    count, num_classes = probabilities.shape
    own = probabilities[torch.arange(count), labels]
    sizes = labels.bincount(minlength=num_classes)
    sums = torch.zeros(num_classes, dtype=own.dtype).index_add_(0, labels, own)
    thresholds = torch.where(sizes > 0, sums / sizes.clamp_min(1), torch.inf)
    confident = probabilities.where(probabilities >= thresholds, -1.0)
    best, likely = confident.max(dim=1)
    is_counted = best >= 0
    joint = torch.bincount(labels[is_counted] * num_classes + likely[is_counted], minlength=num_classes**2)
    joint = joint.view(num_classes, num_classes).double()
    joint = joint / joint.sum(dim=1, keepdim=True).clamp_min(1) * sizes[:, None]
    most = round(float(joint.sum() - joint.diagonal().sum()))
    suggested = probabilities.argmax(dim=1)
    wrong = (suggested != labels).nonzero()[:, 0]
    images = wrong[own[wrong].argsort(stable=True)][:most]
    return LabelErrors(thresholds, joint, images, suggested[images])


@dataclass(frozen=True)
class ClassPair:
    """Two classes, and how well they are told apart."""

    one: int
    other: int
    told_apart: Score
    """Percentage of images whose label is the more probable one of the two, mean of the two classes."""

    @property
    def is_alike(self) -> bool:
        """Whether they cannot be told apart: even the upper end of the interval is below `APART`."""
        return self.told_apart.high < APART


def class_pairs(probabilities: Tensor, labels: Tensor) -> list[ClassPair]:
    """The `MOST_PAIRS` pairs of classes that are confused most, by (N, C) probabilities and (N,) labels, hardest first.

    Both classes count the same, so that guessing is right half of the time even if one of them has more images.
    """
    num_classes = probabilities.shape[1]
    sizes = labels.bincount(minlength=num_classes)
    predicted = probabilities.argmax(dim=1)
    shares = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)
    shares = shares / sizes[:, None].clamp_min(1)
    confused = (shares + shares.T).triu_(1).flatten()
    pairs = []
    for place in confused.argsort(descending=True, stable=True)[:MOST_PAIRS].tolist():
        one, other = divmod(place, num_classes)
        if one < other and sizes[one] and sizes[other]:
            inside = (labels == one) | (labels == other)
            between, is_one = probabilities[inside][:, [one, other]], labels[inside] == one
            correct = torch.where(is_one, between[:, 0] > between[:, 1], between[:, 1] > between[:, 0])
            pairs.append(ClassPair(one, other, mean_per_class(correct, labels[inside])))
    return sorted(pairs, key=lambda pair: pair.told_apart.value)
