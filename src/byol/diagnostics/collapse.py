"""Is the run collapsed? Four numbers that need no labels, and a verdict in words with its evidence."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from byol.diagnostics.similarity import cosines, std_ratio, unit
from byol.diagnostics.spectrum import effective_rank

COLLAPSED_STD = 0.05
"""Below this std_ratio the projections have collapsed."""
PARTIAL_STD = 0.25
"""Below this one they have in part."""
PARTIAL_REPRESENTATION_STD = 0.1
"""Below this std_ratio an encoder's representation, alone, is suspect."""


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
    online, other = unit(projection.cpu()), unit(target.cpu())
    if not bool(online.isfinite().all() and other.isfinite().all()):
        return CollapseWatch(math.nan, math.nan, math.nan, math.nan)
    return CollapseWatch(std_ratio(online), effective_rank(online), *cosines(online, other))


def is_collapsed(seen: CollapseWatch) -> bool:
    """Whether all images get nearly the same projection."""
    return seen.std_ratio < COLLAPSED_STD


def verdict(seen: CollapseWatch) -> str:
    """The state in one sentence that starts with `healthy`, `partially collapsed`, `collapsed` or `unknown`."""
    if math.isnan(seen.std_ratio):
        return "unknown: the projections last looked at are not finite numbers."
    beside = (
        f"effective rank {seen.effective_rank:.1f}, cosine {seen.positive_cosine:.2f} between views of one image and "
        f"{seen.negative_cosine:.2f} between images"
    )
    if is_collapsed(seen):
        return (
            f"collapsed: all images get nearly the same projection (std {seen.std_ratio:.2f} of isotropic, below "
            f"{COLLAPSED_STD:g}; {beside}). Lower the rate, or raise tau."
        )
    if seen.std_ratio < PARTIAL_STD:
        return (
            f"partially collapsed: projections of different images differ little (std {seen.std_ratio:.2f} of "
            f"isotropic, below {PARTIAL_STD:g}; {beside}). Early in a training this passes; late, lower the rate or raise tau."
        )
    return (
        f"healthy: projections of different images differ (std {seen.std_ratio:.2f} of isotropic, at least "
        f"{PARTIAL_STD:g}; {beside})."
    )


def judge(measures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The verdict on what `byol diagnose` measured, by mode, encoding and name; in train mode where it is there.

    In eval mode batch norm uses averages, which may hide or bring a collapse: where the two disagree, it says so.
    """
    if "train" not in measures:
        std = measures["eval"]["representation"]["std_ratio"]
        if math.isnan(std):
            return "unknown: the representations are not finite numbers."
        told = "is suspect: images get much the same vector" if std < PARTIAL_REPRESENTATION_STD else "differs by image"
        return (
            f"unknown: without projections no verdict was fitted; the representation {told} (std {std:.2f} of "
            f"isotropic, limit {PARTIAL_REPRESENTATION_STD:g})."
        )
    sentences = {mode: verdict(_as_watch(measures[mode])) for mode in ("train", "eval")}
    words = {mode: sentence.partition(":")[0] for mode, sentence in sentences.items()}
    if words["train"] == words["eval"]:
        return sentences["train"]
    return f"{sentences['train']} In eval mode {sentences['eval']}"


def _as_watch(parts: Mapping[str, Mapping[str, float]]) -> CollapseWatch:
    projection, networks = parts["projection"], parts["networks"]
    cosine = networks["positive_cosine"], networks["negative_cosine"]
    return CollapseWatch(projection["std_ratio"], projection["effective_rank"], *cosine)
