"""Is the run collapsed? Four numbers that need no labels, and a verdict in words."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class CollapseWatch:
    """How different the projections of different images are."""

    std_ratio: float
    """Mean standard deviation per dimension of the unit projections, times sqrt(d): 0 collapsed, 1 isotropic (SimSiam section 4.1)."""
    effective_rank: float
    """exp of the entropy of the singular values of the unit projections: 1 to min(N, D) (Roy and Vetterli)."""
    positive_cosine: float
    """Mean cosine of online and target projections of two views of one image."""
    negative_cosine: float
    """The same for views of different images."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@torch.no_grad()
def watch(projection: Tensor, target: Tensor) -> CollapseWatch:
    """Measures (N, D) online projections of one view and target projections of the other, N >= 2.

    All four are NaN where a projection is not finite.
    """
    online = functional.normalize(projection.float().cpu(), dim=1)
    other = functional.normalize(target.float().cpu(), dim=1)
    if not bool(online.isfinite().all() and other.isfinite().all()):
        return CollapseWatch(math.nan, math.nan, math.nan, math.nan)
    count, dimension = online.shape
    cosines = online @ other.T
    positive = cosines.diagonal().mean()
    negative = (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))
    std = online.std(dim=0, correction=0).mean() * dimension**0.5
    return CollapseWatch(float(std), effective_rank(online), float(positive), float(negative))


@torch.no_grad()
def effective_rank(vectors: Tensor) -> float:
    """exp of the entropy of the normalised singular values of an (N, D) matrix, uncentred; 0 for a zero matrix."""
    values = torch.linalg.svdvals(vectors.float().cpu())
    total = values.sum()
    if total <= 0:
        return 0.0
    share = values / total
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def is_collapsed(seen: CollapseWatch) -> bool:
    """Whether all images get nearly the same projection."""
    return seen.std_ratio < 0.05 or seen.negative_cosine > 0.99


def verdict(seen: CollapseWatch) -> str:
    """The state in one sentence that starts with `healthy`, `weak`, `collapsed` or `unknown`."""
    if math.isnan(seen.std_ratio):
        return "unknown: the projections last looked at are not finite numbers."
    evidence = (
        f"std {seen.std_ratio:.2f} of isotropic, effective rank {seen.effective_rank:.1f}, "
        f"cosine {seen.positive_cosine:.2f} between views of one image and {seen.negative_cosine:.2f} between images"
    )
    if is_collapsed(seen):
        return f"collapsed: all images get nearly the same projection ({evidence}). Lower the rate, or raise tau."
    if seen.std_ratio < 0.25 or seen.effective_rank < 4 or seen.positive_cosine - seen.negative_cosine < 0.05:
        return f"weak: projections of different images differ little ({evidence}). Train longer before judging."
    return f"healthy: views of one image agree and different images differ ({evidence})."
