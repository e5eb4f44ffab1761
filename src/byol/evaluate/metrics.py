"""Metrics of classification, retrieval and clustering, in percent, with 95 % intervals."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from byol.evaluate.scores import Score, Z, accuracy

RESAMPLES = 1000


def top_k(scores: Tensor, labels: Tensor, k: int, *, above: float = -math.inf) -> Score:
    """The share of (N,) labels among the k highest of (N, C) scores, of those that are above `above`."""
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    return accuracy(((best.indices == labels[:, None]) & (best.values > above)).any(dim=1))


def top_5(scores: Tensor, labels: Tensor, *, above: float = -math.inf) -> dict[str, Score]:
    """`top_k` of five by its name; nothing where there are five classes or fewer, among which any answer is."""
    return {"top-5": top_k(scores, labels, 5, above=above)} if scores.shape[1] > 5 else {}


def mean_per_class(correct: Tensor, labels: Tensor) -> Score:
    """Mean over the classes of the share of (N,) bool `correct`; the interval is the normal one of that mean.

    For it a class that is right or wrong throughout counts as if one image more were right and one more wrong.
    """
    shares, variances = [], []
    for label in labels.unique():
        inside = correct[labels == label].double()
        share = float(inside.mean())
        shares.append(share)
        if share in (0, 1):  # of few images no sign of certainty
            share = (float(inside.sum()) + 1) / (len(inside) + 2)
        variances.append(share * (1 - share) / len(inside))
    mean, half = sum(shares) / len(shares), Z * math.sqrt(sum(variances)) / len(shares)
    return Score(100 * mean, 100 * max(0.0, mean - half), 100 * min(1.0, mean + half))


def average_precision_11_point(scores: Tensor, positive: Tensor) -> float:
    """VOC2007's average precision of (N,) scores against (N,) bool: mean over recall 0, 0.1, ..., 1 of the highest
    precision at that recall or above."""
    hits = positive[scores.argsort(descending=True, stable=True)].double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    recall = hits / hits[-1].clamp_min(1)
    levels = [precision[recall >= level / 10 - 1e-12] for level in range(11)]
    return sum(float(p.max()) if len(p) else 0.0 for p in levels) / 11


def mean_average_precision_11_point(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes with a positive of that of (N, C) scores against (N, C) labels in 1, -1 and 0 (left out)."""
    known = [(column, row != 0, row > 0) for column, row in zip(scores.T, labels.T, strict=True)]
    values = [average_precision_11_point(column[k], positive[k]) for column, k, positive in known if positive.any()]
    return sum(values) / max(len(values), 1)


def mean_average_precision(scores: Tensor, labels: Tensor, *, seed: int = 0) -> Score:
    """The same with its interval, in percent."""

    def of(rows: Tensor) -> float:
        return mean_average_precision_11_point(scores[rows], labels[rows])

    return bootstrap(of, len(scores), seed, resamples=200)


def bootstrap(statistic: Callable[[Tensor], float], count: int, seed: int, resamples: int = RESAMPLES) -> Score:
    """The statistic of all rows, with the percentile interval over resampled rows; `statistic` takes (count,) rows.

    The interval is moved by the bootstrap's estimate of the statistic's bias, which resampling adds a second time:
    mutual information is overestimated by few images, and more so by fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    values = [statistic(torch.randint(count, (count,), generator=generator)) for _ in range(resamples)]
    whole = statistic(torch.arange(count))
    low, high = np.quantile(values, (0.025, 0.975)) - (np.mean(values) - whole)
    return Score(100 * whole, 100 * float(low), 100 * float(high))


def normalized_mutual_information(cluster: Tensor, labels: Tensor) -> float:
    """2 I(cluster; label) / (H(cluster) + H(label)) of two (N,) partitions, in [0, 1]; 1 where both are one part."""
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
