"""Classification of every image by its nearest neighbours among the other images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.knn import leave_one_out
from byol.evaluate.scores import Score, accuracy

MOST_CLASSES = 40
"""Largest number of rows in the table."""


@dataclass(frozen=True)
class ClassTable:
    """Leave-one-out kNN (k 20, T 0.1) on the images shown. It is not a test accuracy: the encoder was trained on these images."""

    score: Score
    confusion: list[list[int]]
    """[class][predicted class] number of images; of more than 40 classes, those with most images."""
    classes: list[int]
    """The class number of each row."""
    recall: list[Score]
    """Recall of each row's class in percent."""
    precision: list[float]
    """Precision of each row's class in percent; 0 if the class was never predicted."""


def class_table(unit: Tensor, labels: Tensor) -> ClassTable:
    """The table for (N, D) unit vectors with (N,) labels, N >= 2."""
    classes, labels = labels.unique(return_inverse=True)
    count = len(classes)
    predicted = leave_one_out(unit, labels)
    counts = torch.bincount(labels * count + predicted, minlength=count**2).view(count, count)
    shown = counts.sum(dim=1).argsort(descending=True, stable=True)[:MOST_CLASSES].sort().values
    return ClassTable(
        accuracy(predicted == labels),
        counts[shown][:, shown].tolist(),
        classes[shown].tolist(),
        [accuracy(predicted[labels == label] == label) for label in shown],
        [100 * float(counts[c, c]) / max(1, int(counts[:, c].sum())) for c in shown.tolist()],
    )
