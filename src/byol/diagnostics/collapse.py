"""Collapse detection: four measures that need no labels, and a verdict in words with its evidence."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from byol.diagnostics.similarity import cosines, std_ratio, unit
from byol.diagnostics.spectrum import effective_rank
from byol.runtime.words import counted

Health = Literal["unknown", "healthy", "partially collapsed", "collapsed"]
TOO_SHORT = "too short to tell"
"""First words of the verdict on a training with too few steps."""
FEWEST_STEPS = 300
"""Smallest number of steps after the warm-up for a verdict: sound trainings pass through a partial collapse before (docs/decisions.md)."""


@dataclass(frozen=True)
class Limits:
    """Thresholds below which a measure indicates collapse; fitted by `benchmarks/collapse_studies.py` (docs/results.md)."""

    cosine_gap: float = 0.3335
    effective_rank: float = 3.943
    std_ratio: float = 0.5703


LIMITS = Limits()


@dataclass(frozen=True)
class CollapseWatch:
    """Measures of how much the projections of different images differ."""

    std_ratio: float
    """Mean standard deviation per dimension of the unit projections, times sqrt(D): 0 collapsed, 1 isotropic (SimSiam section 4.1)."""
    effective_rank: float
    """Exponential of the entropy of the unit projections' singular values, in [1, min(N, D)] (Roy and Vetterli 2007)."""
    positive_cosine: float
    """Mean cosine of online and target projections of two views of one image, in [-1, 1]."""
    negative_cosine: float
    """Mean cosine of online and target projections of views of different images, in [-1, 1]."""

    @property
    def cosine_gap(self) -> float:
        """Positive minus negative cosine: 0 if views of one image are no more alike than views of different images."""
        return self.positive_cosine - self.negative_cosine

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@torch.no_grad()
def watch(projection: Tensor, target: Tensor) -> CollapseWatch:
    """Measures (N, D) online projections of one view and target projections of the other, N >= 2.

    All four are NaN if a projection is not finite.
    """
    online, other = unit(projection.cpu()), unit(target.cpu())
    if not bool(online.isfinite().all() and other.isfinite().all()):
        return CollapseWatch(math.nan, math.nan, math.nan, math.nan)
    return CollapseWatch(std_ratio(online), effective_rank(online), *cosines(online, other))


def health(measured: CollapseWatch, limits: Limits = LIMITS) -> Health:
    """`collapsed` if the gap and another measure are below their limits, `partially collapsed` if any one is."""
    if math.isnan(measured.std_ratio):
        return "unknown"
    gap, rank, std = (getattr(measured, name) < getattr(limits, name) for name in Limits.__dataclass_fields__)
    if gap and (rank or std):
        return "collapsed"
    return "partially collapsed" if gap or rank or std else "healthy"


def is_collapsed(measured: CollapseWatch) -> bool:
    """Whether the projections hardly depend on the image."""
    return health(measured) == "collapsed"


def can_judge(step: int, warmup_steps: int) -> bool:
    """Whether `step` steps, of which `warmup_steps` are warm-up, are enough for a verdict."""
    return step >= warmup_steps + FEWEST_STEPS


def verdict(measured: CollapseWatch, step: int, warmup_steps: int) -> str:
    """Health after `step` steps in one sentence, which starts with its name and gives the numbers and limits it rests on.

    A training of too few steps (`can_judge`) gets no verdict, only the numbers.
    """
    word = health(measured)
    if word == "unknown":
        return "unknown: the last projections are not finite numbers."
    if not can_judge(step, warmup_steps):
        return f"{TOO_SHORT}: {_too_few(step, warmup_steps)} (so far: {_evidence(measured)})."
    return MEANINGS[word].format(_evidence(measured))


def _too_few(step: int, warmup_steps: int) -> str:
    after = f" after the warm-up of {warmup_steps:,}" if warmup_steps else ""
    return f"{counted(step, 'step')}, and a verdict needs {FEWEST_STEPS}{after}"


def _evidence(measured: CollapseWatch) -> str:
    """The measures, each beside its limit."""

    def against(value: float, limit: float, digits: int) -> str:
        return f"{value:.{digits}f} {'<' if value < limit else '>='} {limit:g}"

    return (
        f"cosine {measured.positive_cosine:.2f} between views of one image and {measured.negative_cosine:.2f} between images, "
        f"gap {against(measured.cosine_gap, LIMITS.cosine_gap, 2)}; effective rank "
        f"{against(measured.effective_rank, LIMITS.effective_rank, 1)}; std "
        f"{against(measured.std_ratio, LIMITS.std_ratio, 2)} of isotropic"
    )


ADVICE = "lower the rate or the weight decay; in BYOL keep the predictor and the heads' batch norm, or raise tau."
MEANINGS = {
    "collapsed": f"collapsed: projections hardly tell images apart ({{}}). To mend it {ADVICE}",
    "partially collapsed": (
        f"partially collapsed: projections tell images apart less than in sound runs ({{}}). Early in a training it passes; late, {ADVICE}"
    ),
    "healthy": "healthy: views of one image agree and different images differ ({}).",
}
"""Meaning of each health, for users; {} is the evidence."""


def verdict_of_measures(
    measures: Mapping[str, Mapping[str, Mapping[str, float]]], step: int = 0, warmup_steps: int = 0
) -> str:
    """The verdict on the measures of `byol diagnose`, by mode, encoding and name; in train mode if it was measured.

    In eval mode batch norm uses averages, which may hide or cause a collapse: if the two modes disagree, the verdict
    gives both. A representation alone gets no verdict: most collapses of the projection leave it intact.
    """
    if "train" not in measures:
        representation = measures["eval"]["representation"]
        return (
            f"unknown: collapse shows in the projections, which an encoder alone does not have (its representation: std "
            f"{representation['std_ratio']:.2f} of isotropic, effective rank {representation['effective_rank']:.1f})."
        )
    sentences = {mode: verdict(_as_watch(measures[mode]), step, warmup_steps) for mode in ("train", "eval")}
    words = {mode: sentence.partition(":")[0] for mode, sentence in sentences.items()}
    if words["train"] == words["eval"]:
        return sentences["train"]
    return f"{sentences['train']} In eval mode {sentences['eval']}"


def _as_watch(parts: Mapping[str, Mapping[str, float]]) -> CollapseWatch:
    projection, networks = parts["projection"], parts["networks"]
    cosine = networks["positive_cosine"], networks["negative_cosine"]
    return CollapseWatch(projection["std_ratio"], networks["unit_effective_rank"], *cosine)
