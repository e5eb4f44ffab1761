"""Spherical k-means."""

import torch
from torch import Tensor
from torch.nn import functional

RESTARTS = 5


def spherical_kmeans(unit: Tensor, k: int, seed: int, steps: int = 50) -> tuple[Tensor, Tensor]:
    """((N,) cluster of each unit vector, (k, D) unit centres): Lloyd's steps by cosine from a k-means++ start."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(unit), (1,), generator=generator))]
    closest = unit @ unit[chosen[0]]
    for _ in range(k - 1):
        distance = (1 - closest).clamp_min(0) + 1e-9
        chosen.append(int(torch.multinomial(distance, 1, generator=generator)))
        closest = torch.maximum(closest, unit @ unit[chosen[-1]])
    centres = unit[chosen]
    cluster = (unit @ centres.T).argmax(dim=1)
    for _ in range(steps):
        sums = torch.zeros_like(centres).index_add_(0, cluster, unit)
        empty = sums.norm(dim=1) == 0
        centres = torch.where(empty[:, None], centres, functional.normalize(sums, dim=1))
        before, cluster = cluster, (unit @ centres.T).argmax(dim=1)
        if torch.equal(before, cluster):
            break
    return cluster, centres
