"""Near-duplicates: feature vectors propose pairs, small grey pictures decide; the nearer the vectors, the less alike these must be.

Vectors have length 1; `select` centres them first (`centred`), `audit`, `explore` and the count of leaks take them as they are. Distances (1 - cosine) are measured in the data's own unit, the median
distance of an image to its tenth nearest other one, so that the limits mean the same for every encoder.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from byol.evaluate.nearest import nearest_others

CROWD = 10
"""Number of nearest other images that an image's surroundings are measured by."""
SURE = 0.15
"""Largest distance of nearly equal vectors, in the data's unit (docs/trials.md)."""
ALIKE = 0.35
"""Largest distance of vectors that are too alike to label both."""
POSSIBLE = 0.8
"""Largest distance of vectors whose pictures are compared."""
CHUNK = 4096
"""Number of pairs whose pictures are compared at a time."""
SAME_PICTURE = 0.95
"""Smallest correlation of two small grey pictures (`data.pixel_measures.SMALL_SIDE`) that show the same."""
SIMILAR_PICTURE = 0.5
"""Smallest correlation where the vectors are nearly equal, which a weak encoder gives pictures of one colour, too."""


def centred(vectors: Tensor, mean: Tensor | None = None) -> Tensor:
    """(N, D) unit vectors: the vectors minus their mean, or a given (D,) `mean`, scaled to length 1."""
    return functional.normalize(vectors - (vectors.mean(dim=0) if mean is None else mean), dim=1)


@dataclass(frozen=True)
class Surroundings:
    """The nearest other images of each image."""

    cosine: Tensor
    """(N, k) cosines, most similar first; k is `CROWD`, or N - 1 if that is smaller."""
    place: Tensor
    """(N, k) images."""

    @classmethod
    def of(cls, unit: Tensor) -> "Surroundings":
        """The surroundings of (N, D) unit vectors, N >= 2."""
        return cls(*nearest_others(unit, CROWD))

    @property
    def crowding(self) -> Tensor:
        """(N,) mean cosine to the nearest others: low for odd images."""
        return self.cosine.mean(dim=1)

    def least(self, distance: float) -> float:
        """The cosine at a distance that is given in the data's unit."""
        return 1 - distance * float((1 - self.cosine[:, -1]).clamp_min(0).median())


def is_near(cosine: Tensor, correlation: Tensor, surroundings: Surroundings) -> Tensor:
    """Whether pairs with these (P,) cosines of vectors and (P,) correlations of pictures are near-duplicates, (P,) bool."""
    possible = (cosine >= surroundings.least(POSSIBLE)) & (correlation >= SAME_PICTURE)
    return possible | (cosine >= surroundings.least(SURE)) & (correlation >= SIMILAR_PICTURE)


def correlations(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Tensor:
    """(P,) correlations of (P, K) pixels of small grey pictures with others; 0 for a picture of one colour."""
    parts = [torch.from_numpy(pixels).float() for pixels in (one, other)]
    return functional.cosine_similarity(*(part - part.mean(dim=1, keepdim=True) for part in parts), dim=1)


def near_groups(surroundings: Surroundings, small: NDArray[np.uint8], digest: NDArray[np.void]) -> list[list[int]]:
    """Groups of copies and near-duplicates: the connected components of all such pairs, of two images or more.

    `small`: (N, K) pixels of small grey pictures. `digest`: (N,) bytes that are equal for equal pixels. Pairs are sought among each
    image's ten nearest others, and equal pixels anywhere. Groups are in the order of their first images.
    """
    width = surroundings.place.shape[1]
    first = torch.arange(len(small)).repeat_interleave(width)
    second, cosine = surroundings.place.flatten(), surroundings.cosine.flatten()
    possible = (cosine >= surroundings.least(POSSIBLE)).nonzero()[:, 0]
    first, second, cosine = first[possible], second[possible], cosine[possible]
    chunks = zip(first.split(CHUNK), second.split(CHUNK), strict=True)
    alike = torch.cat([correlations(small[one], small[other]) for one, other in chunks])
    near = is_near(cosine, alike, surroundings).numpy()
    equal = np.unique(digest, return_index=True, return_inverse=True)
    every = np.arange(len(small))
    ones = np.concatenate((first.numpy()[near], every))
    others = np.concatenate((second.numpy()[near], equal[1][equal[2]]))
    return _components(len(small), ones, others)


def _components(count: int, ones: NDArray[np.int64], others: NDArray[np.int64]) -> list[list[int]]:
    """Components of two or more of `count` images that (P,) pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(ones), bool), (ones, others)), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return sorted(part.tolist() for part in parts if len(part) > 1)


def distinct(unit: Tensor, surroundings: Surroundings, least: float) -> Tensor:
    """The images, in order, of (N, D) unit vectors that have a cosine below `least` with every one before them that is kept."""
    dropped = torch.zeros(len(unit), dtype=torch.bool)
    active, cosine, place = torch.arange(len(unit)), surroundings.cosine, surroundings.place
    while True:
        has_near = cosine[:, 0] >= least
        gone = torch.zeros(len(active), dtype=torch.bool)
        for row in has_near.nonzero()[:, 0].tolist():
            if not gone[row]:
                near = place[row][cosine[row] >= least]
                gone[near[near > row]] = True
        dropped[active[gone]] = True
        active = active[has_near & ~gone]
        if len(active) < 2 or not bool(gone.any()):
            return (~dropped).nonzero()[:, 0]
        cosine, place = nearest_others(unit[active], CROWD)  # again, for images that had more than `CROWD` near ones
