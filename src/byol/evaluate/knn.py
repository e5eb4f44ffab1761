"""Weighted k-nearest-neighbour classification on unit features (Wu et al. 2018)."""

import torch
from torch import Tensor

from byol.evaluate.nearest import nearest, nearest_others

NEIGHBOURS, TEMPERATURE = 20, 0.1
"""k and temperature for probes, studies, reports and the smoke budget, which choose neither on validation images."""


def votes(cosine: Tensor, labels: Tensor, temperature: float, num_classes: int) -> Tensor:
    """Votes per class, (M, C), of (M, k) neighbours with these cosines and labels.

    Each neighbour's vote is exp((cosine - the row's highest cosine) / temperature).
    """
    sums = torch.zeros(len(cosine), num_classes, device=cosine.device)
    behind = cosine - cosine.amax(dim=1, keepdim=True)
    return sums.scatter_add_(1, labels, (behind / temperature).exp())


def knn_predict(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, *, k: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> Tensor:
    """(M,) predicted classes of (M, D) queries, by the k (at most N) most similar of (N, D) vectors `bank`."""
    cosine, index = nearest(queries, bank, min(k, len(bank)))
    return votes(cosine, bank_labels[index], temperature, int(bank_labels.max()) + 1).argmax(dim=1)


def leave_one_out(vectors: Tensor, labels: Tensor, *, k: int = NEIGHBOURS, temperature: float = TEMPERATURE) -> Tensor:
    """(N,) class of each of (N, D) vectors by its nearest neighbours among the others. Labels are 0 to C - 1; N >= 2."""
    cosine, index = nearest_others(vectors, k)
    return votes(cosine, labels[index], temperature, int(labels.max()) + 1).argmax(dim=1)
