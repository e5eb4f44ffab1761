"""Galleries by similarity of feature vectors: neighbours, clusters, typical and odd images, near-duplicates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.duplicates import CROWD
from byol.evaluate.kmeans import spherical_kmeans


@dataclass(frozen=True)
class Gallery:
    """Galleries as indices of N images. Similarities are cosines."""

    neighbours: Tensor
    """Nearest neighbours of each image, (N, K) int64, most similar first, without the image itself."""
    similarities: Tensor
    """Their similarities, (N, K) float32."""
    cluster: Tensor
    """Cluster of each image, (N,) int64."""
    members: list[list[int]]
    """Some images of each cluster, nearest to its centre first; largest cluster first."""
    sizes: list[int]
    """Number of images in each cluster."""
    typical: list[int]
    """Typical images: most similar to all others on average, among the half with the most similar ten neighbours."""
    odd: list[int]
    """Odd images: least similar to their ten nearest neighbours."""
    pairs: list[tuple[int, int, float]]
    """Most similar pairs of images: (index, index, similarity)."""


def gallery(unit: Tensor, *, num_clusters: int, num_neighbours: int = 6, shown: int = 16, seed: int = 0) -> Gallery:
    """The galleries of (N, D) unit vectors, N >= 2. `shown`: number of images in each gallery."""
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
    crowded = odd[len(odd) // 2 :]  # an image between all others but near to none is not typical
    typical = crowded[(unit[crowded] @ unit.mean(dim=0)).argsort(descending=True)]
    width = min(num_neighbours, count - 1)
    return Gallery(
        neighbours[:, :width],
        similarities[:, :width],
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
