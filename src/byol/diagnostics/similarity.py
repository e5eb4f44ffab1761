"""Similarity of encodings of one image's views and of different images; float64 stays float64, the rest is float32."""

import torch
from torch import Tensor
from torch.nn import functional


def unit(vectors: Tensor) -> Tensor:
    """(..., D) vectors divided by their length, at least float32; a zero vector stays zero."""
    return functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)


@torch.no_grad()
def std_ratio(vectors: Tensor) -> float:
    """Standard deviation of the unit vectors (N, D), mean over dimensions, times sqrt(D) (SimSiam section 4.1).

    It is 0 for equal vectors and 1 for isotropic ones.
    """
    return float(unit(vectors).std(dim=0, correction=0).mean()) * vectors.shape[1] ** 0.5


@torch.no_grad()
def cosines(vectors: Tensor, others: Tensor) -> tuple[float, float]:
    """Mean cosine of row i with row i, and of row i with all other rows, of two (N, D) matrices, N >= 2.

    The cost is O(N D): the sum over all pairs is the product of the sums.
    """
    first, second = unit(vectors), unit(others)
    count = len(first)
    same = (first * second).sum()
    every = first.sum(dim=0) @ second.sum(dim=0)
    return float(same / count), float((every - same) / (count * (count - 1)))


@torch.no_grad()
def alignment(vectors: Tensor, others: Tensor, power: float = 2.0) -> float:
    """Mean distance^power between rows i of two (N, D) matrices, as unit vectors: 0 for equal, 4 for opposite rows.

    Collapsed vectors have 0 too (Wang and Isola 2020).
    """
    return float((unit(vectors) - unit(others)).norm(dim=1).pow(power).mean())


@torch.no_grad()
def uniformity(vectors: Tensor, t: float = 2.0, chunk: int = 1024) -> float:
    """Logarithm of the mean of exp(-t distance^2) over all pairs of rows i < j of (N, D), as unit vectors, N >= 2.

    It is 0 for equal rows and about -2 t for rows spread over a sphere of many dimensions (Wang and Isola 2020).
    Memory holds chunk x N distances at a time.
    """
    points = unit(vectors)
    count = len(points)
    total = points.new_zeros(())
    for start in range(0, count, chunk):
        squared = (2 - 2 * points[start : start + chunk] @ points[start:].T).clamp_min(0)
        total += torch.exp(-t * squared).triu(diagonal=1).sum()
    return float((total / (count * (count - 1) / 2)).log())
