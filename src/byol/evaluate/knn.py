"""Weighted k-nearest-neighbour classification on unit features (Wu et al. 2018)."""

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.1,
    chunk: int = 1024,
) -> Tensor:
    """(M,) predicted classes of (M, D) queries: the k most similar of (N, D) vectors vote exp(cosine / temperature).

    k is at most N. Holds chunk x N similarities at a time, never M x N.
    """
    k = min(k, len(bank))
    num_classes = int(bank_labels.max()) + 1
    bank = functional.normalize(bank.float(), dim=1)
    predicted = []
    for part in queries.split(chunk):
        similarity, index = (functional.normalize(part.float(), dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(part), num_classes, device=part.device)
        votes.scatter_add_(1, bank_labels[index], ((similarity - 1) / temperature).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)
