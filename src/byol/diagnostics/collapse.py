"""Is the run collapsed? Four numbers that need no labels, and a verdict in words with its evidence."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from byol.diagnostics.similarity import cosines, std_ratio, unit
from byol.diagnostics.spectrum import effective_rank

Health = Literal["unknown", "healthy", "partially collapsed", "collapsed"]


@dataclass(frozen=True)
class Limits:
    """Below these a number speaks for collapse; fitted by `benchmarks/collapse_studies.py` (docs/results.md)."""

    cosine_gap: float = 0.3335
    effective_rank: float = 3.943
    std_ratio: float = 0.5703


LIMITS = Limits()


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

    @property
    def cosine_gap(self) -> float:
        """Positive minus negative cosine: 0 where views of one image are no more alike than others."""
        return self.positive_cosine - self.negative_cosine

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


def health(seen: CollapseWatch, limits: Limits = LIMITS) -> Health:
    """Collapsed: the gap is below its limit, and the rank or the std too. In part: any one of the three is."""
    if math.isnan(seen.std_ratio):
        return "unknown"
    gap, rank, std = (getattr(seen, name) < getattr(limits, name) for name in Limits.__dataclass_fields__)
    if gap and (rank or std):
        return "collapsed"
    return "partially collapsed" if gap or rank or std else "healthy"


def is_collapsed(seen: CollapseWatch) -> bool:
    """Whether the projections say next to nothing about which image they are of."""
    return health(seen) == "collapsed"


def verdict(seen: CollapseWatch) -> str:
    """The health in one sentence that starts with its name, with the numbers and limits it rests on."""
    found = health(seen)
    if found == "unknown":
        return "unknown: the projections last looked at are not finite numbers."

    def against(value: float, limit: float, digits: int) -> str:
        return f"{value:.{digits}f} {'<' if value < limit else '>='} {limit:g}"

    evidence = (
        f"cosine {seen.positive_cosine:.2f} between views of one image and {seen.negative_cosine:.2f} between images, "
        f"gap {against(seen.cosine_gap, LIMITS.cosine_gap, 2)}; effective rank "
        f"{against(seen.effective_rank, LIMITS.effective_rank, 1)}; std "
        f"{against(seen.std_ratio, LIMITS.std_ratio, 2)} of isotropic"
    )
    return MEANINGS[found].format(evidence)


ADVICE = "lower the rate or the weight decay; in BYOL keep the predictor and the heads' batch norm, or raise tau."
MEANINGS = {
    "collapsed": f"collapsed: projections hardly tell images apart ({{}}). To mend it {ADVICE}",
    "partially collapsed": (
        f"partially collapsed: projections tell images apart less than in sound runs ({{}}). It passes early in a training; late, {ADVICE}"
    ),
    "healthy": "healthy: views of one image agree and different images differ ({}).",
}
"""What each health means; {} is the evidence."""


def judge(measures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The verdict on what `byol diagnose` measured, by mode, encoding and name; in train mode where it is there.

    In eval mode batch norm uses averages, which may hide or bring a collapse: where the two disagree, it says so. Of
    a representation alone nothing is claimed: most collapses of the projection leave it as it was.
    """
    if "train" not in measures:
        seen = measures["eval"]["representation"]
        return (
            f"unknown: collapse shows in the projections, which an encoder alone does not have (its representation: std "
            f"{seen['std_ratio']:.2f} of isotropic, effective rank {seen['effective_rank']:.1f})."
        )
    sentences = {mode: verdict(_as_watch(measures[mode])) for mode in ("train", "eval")}
    words = {mode: sentence.partition(":")[0] for mode, sentence in sentences.items()}
    if words["train"] == words["eval"]:
        return sentences["train"]
    return f"{sentences['train']} In eval mode {sentences['eval']}"


def _as_watch(parts: Mapping[str, Mapping[str, float]]) -> CollapseWatch:
    projection, networks = parts["projection"], parts["networks"]
    cosine = networks["positive_cosine"], networks["negative_cosine"]
    return CollapseWatch(projection["std_ratio"], networks["unit_effective_rank"], *cosine)
