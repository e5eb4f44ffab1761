"""How well the vectors tell classes apart: every image judged by its neighbours among the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.scores import Score, accuracy

NEIGHBOURS = 20
TEMPERATURE = 0.1
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
    num_classes = int(labels.max()) + 1
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    similarity, index = cosines.topk(min(NEIGHBOURS, len(unit) - 1), dim=1)
    votes = torch.zeros(len(unit), num_classes)
    votes.scatter_add_(1, labels[index], ((similarity - 1) / TEMPERATURE).exp())
    predicted = votes.argmax(dim=1)
    counts = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)
    present = counts.sum(dim=1)
    kept = present.argsort(descending=True, stable=True)[:MOST_CLASSES]
    kept = kept[present[kept] > 0].sort().values
    return ClassTable(
        accuracy(predicted == labels),
        counts[kept][:, kept].tolist(),
        kept.tolist(),
        [accuracy(predicted[labels == label] == label) for label in kept],
        [100 * float(counts[c, c]) / max(1, int(counts[:, c].sum())) for c in kept.tolist()],
    )
