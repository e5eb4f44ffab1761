"""What an encoder holds to be alike: neighbours, clusters, typical and odd images, near-duplicates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.kmeans import spherical_kmeans

CROWD = 10
"""Neighbours by which an image is judged odd."""


@dataclass(frozen=True)
class Gallery:
    """Indices into the N images looked at; similarities are cosines."""

    neighbours: Tensor
    """(N, K) int64, the most similar first, never the image itself."""
    similarities: Tensor
    """(N, K) float32."""
    cluster: Tensor
    """(N,) int64."""
    members: list[list[int]]
    """Some images of each cluster, those nearest to its centre first; the largest cluster first."""
    sizes: list[int]
    typical: list[int]
    """The images most similar to all others on average, of the half that is nearest to its ten nearest."""
    odd: list[int]
    """The images least similar to their ten nearest."""
    pairs: list[tuple[int, int, float]]
    """The most similar pairs of different images."""


def gallery(unit: Tensor, *, num_clusters: int, num_neighbours: int = 6, shown: int = 16, seed: int = 0) -> Gallery:
    """Looks at (N, D) unit vectors, N >= 2."""
    count = len(unit)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    similarities, neighbours = cosines.topk(min(max(num_neighbours, CROWD), count - 1), dim=1)
    cluster, centres = spherical_kmeans(unit, min(num_clusters, count), seed)
    order = torch.bincount(cluster, minlength=len(centres)).argsort(descending=True, stable=True)
    order = order[torch.bincount(cluster, minlength=len(centres))[order] > 0]
    renumbered = torch.empty(len(centres), dtype=torch.int64)
    renumbered[order] = torch.arange(len(order))
    members, sizes = [], []
    for number in order.tolist():
        inside = (cluster == number).nonzero()[:, 0]
        nearness = unit[inside] @ centres[number]
        members.append(inside[nearness.argsort(descending=True)[:shown]].tolist())
        sizes.append(len(inside))
    odd = similarities[:, :CROWD].mean(dim=1).argsort()
    crowded = odd[len(odd) // 2 :]  # what lies between all others, near to none, is not typical
    typical = crowded[(unit[crowded] @ unit.mean(dim=0)).argsort(descending=True)]
    kept = min(num_neighbours, count - 1)
    return Gallery(
        neighbours[:, :kept],
        similarities[:, :kept],
        renumbered[cluster],
        members,
        sizes,
        typical[:shown].tolist(),
        odd[:shown].tolist(),
        _closest_pairs(cosines, shown),
    )


def _closest_pairs(cosines: Tensor, count: int) -> list[tuple[int, int, float]]:
    upper = torch.ones_like(cosines, dtype=torch.bool).triu_(1)
    values, places = cosines.masked_fill(~upper, -2).flatten().topk(min(count, int(upper.sum())))
    width = len(cosines)
    return [
        (place // width, place % width, value) for place, value in zip(places.tolist(), values.tolist(), strict=True)
    ]
