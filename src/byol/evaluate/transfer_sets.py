"""The paper's transfer data sets, with metric, validation part and published accuracies (BYOL Tables 3 and 10)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from byol.data.subset import held_out

MetricName = Literal["top-1", "mean per class", "11-point mAP"]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class TransferSet:
    """Metric and validation part of a data set, and the paper's results for a ResNet-50 pretrained on ImageNet, in percent."""

    metric: MetricName
    linear: float
    finetuned: float
    random: float
    """Result of training from random weights."""
    validation: float | int
    """Fraction of each class, or number of images per class, held out for validation. Unused if a part is published."""

    def validation_part(self, labels: Indices, seed: int) -> Indices:
        """Indices of the validation images among training images with these labels; at most half of each class."""
        if isinstance(self.validation, float):
            return held_out(labels, self.validation, seed)[1]
        generator = np.random.default_rng(seed)
        members = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        return np.sort(np.concatenate([part[: min(self.validation, len(part) // 2)] for part in members]))


TRANSFER_SETS = {
    "food101": TransferSet("top-1", 75.3, 88.5, 86.9, 0.1),
    "cifar10": TransferSet("top-1", 91.3, 97.8, 95.9, 0.1),
    "cifar100": TransferSet("top-1", 78.4, 86.1, 80.2, 0.1),
    "birdsnap": TransferSet("top-1", 57.2, 76.3, 76.1, 0.105),
    "sun397": TransferSet("top-1", 62.2, 63.7, 53.6, 10),
    "cars": TransferSet("top-1", 67.8, 91.6, 91.4, 0.2),
    "aircraft": TransferSet("mean per class", 60.6, 88.1, 85.9, 0.5),
    "voc2007": TransferSet("11-point mAP", 82.5, 85.4, 67.3, 0.5),
    "dtd": TransferSet("top-1", 75.5, 76.2, 64.8, 0.5),
    "pets": TransferSet("mean per class", 90.4, 91.7, 81.5, 20),
    "caltech101": TransferSet("mean per class", 94.2, 93.8, 72.6, 5),
    "flowers": TransferSet("mean per class", 96.1, 97.0, 92.0, 0.5),
}
"""Transfer data sets by name. Validation parts are published for aircraft, voc2007 (several labels per image), dtd, flowers."""
UNKNOWN = TransferSet("top-1", float("nan"), float("nan"), float("nan"), 0.1)
"""Metric and validation part for any other labelled images."""
