"""Metrics of classification and clustering, in percent with 95 % intervals."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from byol.evaluate.scores import Score, Z, accuracy

RESAMPLES = 1000
"""Number of bootstrap samples for an interval."""


def top_k(scores: Tensor, labels: Tensor, k: int, *, above: float = -math.inf) -> Score:
    """Top-k accuracy: the percentage of (N,) labels among the k highest of (N, C) scores. Only scores over `above` count."""
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    return accuracy(((best.indices == labels[:, None]) & (best.values > above)).any(dim=1))


def top_5(scores: Tensor, labels: Tensor, *, above: float = -math.inf) -> dict[str, Score]:
    """Top-5 accuracy by its name; empty for five classes or fewer, where every answer is right."""
    return {"top-5": top_k(scores, labels, 5, above=above)} if scores.shape[1] > 5 else {}


def mean_per_class(correct: Tensor, labels: Tensor) -> Score:
    """Accuracy per class of (N,) bool `correct`, mean over the classes, with the normal interval of the mean.

    For the interval a class with accuracy 0 or 1 counts as if it had one more right and one more wrong image.
    """
    shares, variances = [], []
    for label in labels.unique():
        inside = correct[labels == label].double()
        share = float(inside.mean())
        shares.append(share)
        if share in (0, 1):  # would give variance 0, however few the images
            share = (float(inside.sum()) + 1) / (len(inside) + 2)
        variances.append(share * (1 - share) / len(inside))
    mean, half = sum(shares) / len(shares), Z * math.sqrt(sum(variances)) / len(shares)
    return Score(100 * mean, 100 * max(0.0, mean - half), 100 * min(1.0, mean + half))


def calibration_error(probability: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Expected calibration error in percent (Guo et al. 2017): the mean distance of accuracy and probability in bins of equal width.

    (N,) probabilities of the predicted classes, in [0, 1], and (N,) bool whether the predictions are right.
    """
    return 100 * sum(share * abs(mean - right) for mean, right, share in calibration_curve(probability, correct, bins))


def calibration_curve(probability: Tensor, correct: Tensor, bins: int = 15) -> list[tuple[float, float, float]]:
    """(mean probability, accuracy, fraction of all) of each bin of equal width that is not empty; all in [0, 1]."""
    number = (probability * bins).long().clamp_max(bins - 1)
    inside = [number == b for b in range(bins)]
    return [
        (float(probability[m].mean()), float(correct[m].float().mean()), float(m.float().mean()))
        for m in inside
        if bool(m.any())
    ]


def average_precision_11_point(scores: Tensor, positive: Tensor) -> float:
    """VOC2007's average precision of (N,) scores for (N,) bool `positive`, in [0, 1].

    It is the mean over recall 0, 0.1, ..., 1 of the highest precision at that recall or above.
    """
    hits = positive[scores.argsort(descending=True, stable=True)].double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    recall = hits / hits[-1].clamp_min(1)
    levels = [precision[recall >= level / 10 - 1e-12] for level in range(11)]
    return sum(float(p.max()) if len(p) else 0.0 for p in levels) / 11


def mean_average_precision_11_point(scores: Tensor, labels: Tensor) -> float:
    """Mean 11-point average precision over the classes with a positive label, in [0, 1].

    Scores are (N, C); labels are (N, C) of 1, -1 and 0 (unknown, left out).
    """
    known = [(column, row != 0, row > 0) for column, row in zip(scores.T, labels.T, strict=True)]
    values = [average_precision_11_point(column[k], positive[k]) for column, k, positive in known if positive.any()]
    return sum(values) / max(len(values), 1)


def mean_average_precision(scores: Tensor, labels: Tensor, *, seed: int = 0) -> Score:
    """Mean 11-point average precision in percent, with a bootstrap interval."""

    def of(rows: Tensor) -> float:
        return mean_average_precision_11_point(scores[rows], labels[rows])

    return bootstrap(of, len(scores), seed, resamples=200)


def bootstrap(statistic: Callable[[Tensor], float], count: int, seed: int, resamples: int = RESAMPLES) -> Score:
    """`statistic` of all rows in percent, with a percentile interval over resampled rows. It takes (count,) row numbers.

    The interval is shifted by the bootstrap's estimate of the statistic's bias, which resampling adds a second time:
    few images overestimate mutual information.
    """
    generator = torch.Generator().manual_seed(seed)
    values = [statistic(torch.randint(count, (count,), generator=generator)) for _ in range(resamples)]
    whole = statistic(torch.arange(count))
    low, high = np.quantile(values, (0.025, 0.975)) - (np.mean(values) - whole)
    return Score(100 * whole, 100 * float(low), 100 * float(high))


def normalized_mutual_information(cluster: Tensor, labels: Tensor) -> float:
    """Normalised mutual information 2 I / (H(cluster) + H(label)) of two (N,) partitions, in [0, 1].

    It is 1 if both partitions have a single part.
    """
    (clusters, cluster), (classes, labels) = (part.unique(return_inverse=True) for part in (cluster, labels))
    joint = torch.bincount(cluster * len(classes) + labels, minlength=len(clusters) * len(classes)).double()
    joint = joint.view(len(clusters), len(classes)) / joint.sum()
    entropy_of_clusters, entropy_of_labels = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    if entropy_of_clusters + entropy_of_labels == 0:
        return 1.0
    information = entropy_of_clusters + entropy_of_labels - _entropy(joint.flatten())
    return 2 * information / (entropy_of_clusters + entropy_of_labels)


def _entropy(probabilities: Tensor) -> float:
    present = probabilities[probabilities > 0]
    return float(-(present * present.log()).sum())
