"""Which images to label next: orders of images by their feature vectors, and by a classifier where some are labelled already.

Every order is a function of (N, D) unit vectors `unit` of the images to choose from and (M, D) unit vectors `known` of those that are labelled already; M may be 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from byol.errors import DataError
from byol.evaluate.duplicates import ALIKE, Surroundings, centred, distinct
from byol.evaluate.kmeans import spherical_kmeans
from byol.evaluate.linear import fit_linear
from byol.evaluate.nearest import nearest, nearest_others
from byol.runtime.words import counted

Method = Literal["coverage", "typical", "uncertain", "outliers", "mixed"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT: Method = "mixed"
FIRST: Method = "coverage"
"""Method for the first images, when none is labelled."""
ASKS = ("uncertain", "mixed")
"""Methods that ask a classifier of the labelled images."""
NEEDS_CLASSES = ("uncertain",)
"""Methods that need labels of two classes or more."""
TYPICAL_AMONG = 20
"""Number of nearest neighbours in its cluster by which an image is typical, as in TypiClust."""
MOST_CLUSTERS, FEWEST_IN_CLUSTER = 500, 5
"""Largest number of clusters, and smallest size of one that gives typical images, as in TypiClust."""
MOST_COMPARED = 8192
"""Largest number of images that coverage compares with each other; of more, this many random ones."""
FEW = 20
"""Number of labelled images per class below which `mixed` covers, and from which it asks for uncertain ones."""
STRENGTH = 0.1
"""L2 strength of the classifier. With 50 to 500 labels it is at most a point below the best one from 0.001 to 10 (docs/trials.md)."""


@dataclass(frozen=True)
class Choice:
    """Chosen images, best first."""

    images: Tensor
    """(K,) images."""
    scores: Tensor
    """(K,) scores by the method."""
    reasons: list[str]
    """Reason for each image in words."""


@dataclass(frozen=True)
class Known:
    """Images that are labelled already."""

    vectors: Tensor
    """(M, D) feature vectors."""
    labels: Tensor | None = None
    """(M,) class numbers 0 to C - 1; None without labels."""
    classes: Sequence[str] = ()
    """Names of the classes."""


def choose(vectors: Tensor, known: Known, count: int, by: Method, *, seed: int = 0) -> Choice:
    """Up to `count` of the images with (N, D) feature vectors, by one of the methods.

    Images that are too alike (`ALIKE`) to a known one or to a chosen one are left out, so that fewer than `count` may be chosen. Raises DataError if there
    are fewer than `count` images or too few to compare, or if the method needs labels of two classes and `known` has none.
    """
    if count > len(vectors) or len(vectors) < 2:
        raise DataError(
            f"{counted(count, 'image')} cannot be chosen of {len(vectors):,}; lower --count or give more images."
        )
    num_classes = 0 if known.labels is None else len(known.labels.unique())
    if by in NEEDS_CLASSES and num_classes < 2:
        raise DataError(
            f"--by {by} needs --labelled with images of two classes or more; found {num_classes or 'none'}. Choose the first images by {FIRST}."
        )
    mean = vectors.mean(dim=0)
    unit, known_unit = centred(vectors, mean), centred(known.vectors, mean)
    surroundings = Surroundings.of(unit)
    least = surroundings.least(ALIKE)
    free = distinct(unit, surroundings, least)
    if len(known_unit):
        free = free[nearest(unit[free], known_unit, 1)[0][:, 0] < least]
    if not len(free):
        raise DataError("Every image is labelled already, or too like a labelled one; give others.")
    probabilities = None
    if known.labels is not None and num_classes > 1 and by in ASKS:
        probabilities = head(known_unit, known.labels, unit[free]).softmax(dim=1)
    choice = _by(by, unit[free], known_unit, probabilities, known.classes, min(count, len(free)), seed)
    return replace(choice, images=free[choice.images])


def _by(
    by: Method, unit: Tensor, known: Tensor, probabilities: Tensor | None, classes: Sequence[str], count: int, seed: int
) -> Choice:
    if by == "coverage":
        return coverage(unit, known, count, seed=seed)
    if by == "typical":
        return typical(unit, known, count, seed=seed)
    if by == "outliers":
        return outliers(unit, count)
    if by == "uncertain":
        assert probabilities is not None
        return uncertain(probabilities, count, classes)
    return mixed(unit, known, count, probabilities, classes, seed=seed)


def head(vectors: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """(Q, C) logits of (Q, D) queries by a logistic regression on a few (M, D) vectors with (M,) labels 0 to C - 1.

    The strength is fixed, since too few images could choose one.
    """
    every = torch.arange(len(labels)).numpy()
    return fit_linear(vectors, labels, strengths=(STRENGTH,), split=(every, every)).scores(queries)


def margins(probabilities: Tensor) -> Tensor:
    """(N,) differences between the two highest of (N, C) probabilities, C >= 2: small where the classifier is not sure."""
    best = probabilities.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def coverage(unit: Tensor, known: Tensor, count: int, *, weights: Tensor | None = None, seed: int = 0) -> Choice:
    """Images that stand for the others best, by greedy facility location.

    Each choice raises the sum over all images of the cosine to the most similar chosen or known one (0 if that is below 0) most; the greedy sum is
    at least 63 % of the best possible one (Nemhauser et al. 1978). The score is the gain divided by the number of images. `weights`: (N,) weights of the images in the sum.
    """
    some = torch.randperm(len(unit), generator=torch.Generator().manual_seed(seed))[:MOST_COMPARED].sort().values
    part = unit[some]
    weight = torch.ones(len(part)) if weights is None else weights[some]
    similar = (part @ part.T).clamp_min_(0)
    covered = nearest(part, known, 1)[0][:, 0].clamp_min(0) if len(known) else torch.zeros(len(part))
    bound = torch.full((len(part),), torch.inf)
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < min(count, len(part)):
        image = _best_gain(similar, covered, weight, bound)
        chosen.append(image)
        scores.append(float(bound[image]) / len(part))
        bound[image] = -1
        covered = torch.maximum(covered, similar[image])
    reasons = [f"stands for others (mean cosine to the nearest chosen image: {score:.4f} more)" for score in scores]
    return Choice(some[chosen], torch.tensor(scores), reasons)


def _best_gain(similar: Tensor, covered: Tensor, weight: Tensor, bound: Tensor) -> int:
    """The image whose choice gains most. `bound`: (N,) gains computed earlier, which can only have fallen; updated in place."""
    while True:
        tried = bound.topk(min(64, len(bound))).indices
        before = bound[tried]
        bound[tried] = torch.where(before < 0, before, (similar[tried] - covered).clamp_min_(0) @ weight)
        image = int(bound.argmax())
        if bool((tried == image).any()):
            return image


def typical(unit: Tensor, known: Tensor, count: int, *, seed: int = 0) -> Choice:
    """Typical images of many clusters: TypiClust (Hacohen, Dekel and Weinshall 2022).

    K-means makes as many clusters as images are known and asked for. In turn the largest of the clusters with fewest known and chosen images gives its most typical
    one: the one with the highest mean cosine to its 20 nearest neighbours in the cluster, which is the score.
    """
    number_of_clusters = min(len(known) + count, MOST_CLUSTERS, len(unit))
    cluster, centres = spherical_kmeans(unit, number_of_clusters, seed)
    taken = torch.zeros(number_of_clusters, dtype=torch.int64)
    if len(known):
        taken += torch.bincount((known @ centres.T).argmax(dim=1), minlength=number_of_clusters)
    sizes = torch.bincount(cluster, minlength=number_of_clusters)
    fewest = FEWEST_IN_CLUSTER if int((sizes >= FEWEST_IN_CLUSTER).sum()) else 1
    waiting: dict[int, list[tuple[int, float]]] = {}
    rest = []
    for number in range(number_of_clusters):
        inside = (cluster == number).nonzero()[:, 0]
        if len(inside) < max(2, fewest):
            rest += [(image, 0.0) for image in inside.tolist()]
            continue
        score = nearest_others(unit[inside], TYPICAL_AMONG)[0].mean(dim=1)
        order = score.argsort(descending=True, stable=True)
        waiting[number] = list(zip(inside[order].tolist(), score[order].tolist(), strict=True))
    found: list[tuple[int, float]] = []
    while len(found) < count and waiting:
        number = min(waiting, key=lambda each: (int(taken[each]), -int(sizes[each]), each))
        found.append(waiting[number].pop(0))
        taken[number] += 1
        if not waiting[number]:
            del waiting[number]
    found += rest[: count - len(found)]
    images, scores = (torch.tensor(column) for column in zip(*found, strict=True))
    reasons = [f"typical: mean cosine {score:.2f} to the nearest images of its group" for score in scores.tolist()]
    return Choice(images, scores, reasons)


def mixed(
    unit: Tensor, known: Tensor, count: int, probabilities: Tensor | None, classes: Sequence[str], *, seed: int = 0
) -> Choice:
    """Coverage while few images are labelled, then the uncertain ones: less than `FEW` labels per class are too few to know what is uncertain."""
    early = count if probabilities is None else min(count, max(0, FEW * probabilities.shape[1] - len(known)))
    first = coverage(unit, known, early, seed=seed)
    if early == count or probabilities is None:
        return first
    ranked = uncertain(probabilities, count, classes)
    later = [row for row, image in enumerate(ranked.images.tolist()) if image not in set(first.images.tolist())]
    rows = later[: count - len(first.images)]
    return Choice(
        torch.cat((first.images, ranked.images[rows])),
        torch.cat((first.scores, ranked.scores[rows])),
        first.reasons + [ranked.reasons[row] for row in rows],
    )


def outliers(unit: Tensor, count: int) -> Choice:
    """Images that are farthest from their nearest others, N >= 2; the score is 1 minus the mean cosine to the ten nearest."""
    score = 1 - Surroundings.of(unit).crowding
    images = score.argsort(descending=True, stable=True)[:count]
    reasons = [f"odd: mean cosine {1 - value:.2f} to its ten nearest images" for value in score[images].tolist()]
    return Choice(images, score[images], reasons)


def uncertain(probabilities: Tensor, count: int, classes: Sequence[str]) -> Choice:
    """Images whose two most probable classes are nearest to each other (margin sampling, Scheffer et al. 2001), by (N, C) probabilities.

    The score is 1 minus the difference of the two probabilities.
    """
    images = margins(probabilities).argsort(stable=True)[:count]
    return Choice(images, 1 - margins(probabilities)[images], _doubts(probabilities[images], classes))


def _doubts(probabilities: Tensor, classes: Sequence[str]) -> list[str]:
    values, places = probabilities.topk(2, dim=1)
    return [
        f"unsure: {classes[p[0]]} ({v[0]:.2f}) or {classes[p[1]]} ({v[1]:.2f})"
        for v, p in zip(values.tolist(), places.tolist(), strict=True)
    ]
