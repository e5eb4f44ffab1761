"""Spherical k-means: clusters of unit vectors by cosine similarity."""

import torch
from torch import Tensor
from torch.nn import functional

RESTARTS = 5
"""Number of k-means runs from different starts; the tightest clustering is used."""


def spherical_kmeans(unit: Tensor, k: int, seed: int, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Clusters (N, D) unit vectors: returns ((N,) cluster numbers, (k, D) unit centres).

    At most `steps` of Lloyd's steps by cosine similarity follow a k-means++ start.
    """
    generator = torch.Generator().manual_seed(seed)
    first_centres = [int(torch.randint(len(unit), (1,), generator=generator))]
    closest = unit @ unit[first_centres[0]]
    for _ in range(k - 1):
        distance = (1 - closest).clamp_min(0) + 1e-9
        first_centres.append(int(torch.multinomial(distance, 1, generator=generator)))
        closest = torch.maximum(closest, unit @ unit[first_centres[-1]])
    centres = unit[first_centres]
    cluster = (unit @ centres.T).argmax(dim=1)
    for _ in range(steps):
        sums = torch.zeros_like(centres).index_add_(0, cluster, unit)
        empty = sums.norm(dim=1) == 0
        centres = torch.where(empty[:, None], centres, functional.normalize(sums, dim=1))
        previous, cluster = cluster, (unit @ centres.T).argmax(dim=1)
        if torch.equal(previous, cluster):
            break
    return cluster, centres
