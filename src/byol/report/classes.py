"""How well the vectors tell classes apart: every image judged by its neighbours among the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.knn import NEIGHBOURS, TEMPERATURE, votes
from byol.evaluate.scores import Score, accuracy

MOST_CLASSES = 40


@dataclass(frozen=True)
class ClassTable:
    """Leave-one-out kNN (k 20, T 0.1) on the images shown; not a test accuracy, as the encoder has seen them."""

    score: Score
    confusion: list[list[int]]
    """[class][predicted] number of images; the classes with most images, where there are more than 40."""
    classes: list[int]
    """The class number of each row."""
    recall: list[Score]
    precision: list[float]
    """In percent; 0 where nothing was predicted to be of the class."""


def class_table(unit: Tensor, labels: Tensor) -> ClassTable:
    """Judges (N, D) unit vectors with (N,) labels, N >= 2."""
    classes, labels = labels.unique(return_inverse=True)
    count = len(classes)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    similarity, index = cosines.topk(min(NEIGHBOURS, len(unit) - 1), dim=1)
    predicted = votes(similarity, labels[index], TEMPERATURE, count).argmax(dim=1)
    counts = torch.bincount(labels * count + predicted, minlength=count**2).view(count, count)
    kept = counts.sum(dim=1).argsort(descending=True, stable=True)[:MOST_CLASSES].sort().values
    return ClassTable(
        accuracy(predicted == labels),
        counts[kept][:, kept].tolist(),
        classes[kept].tolist(),
        [accuracy(predicted[labels == label] == label) for label in kept],
        [100 * float(counts[c, c]) / max(1, int(counts[:, c].sum())) for c in kept.tolist()],
    )
