"""Results of a study against what it expected, with intervals over its seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from byol.diagnostics.collapse import LIMITS, CollapseWatch, is_collapsed
from byol.evaluate.scores import Score, mean_over_runs
from byol.studies.study import Collapse, Contrast, Shape, named

Outcomes = Mapping[str, list[Mapping[str, Any]]]
"""Per variant what each seed gave, in the order of the seeds: measures by name, `collapse`, or `failed`."""


@dataclass(frozen=True)
class Judgement:
    """Whether an expected shape was seen, and what says so."""

    text: str
    state: Literal["held", "did not hold", "undecided", "underpowered"]
    evidence: str


def over_seeds(values: list[float]) -> Score:
    """Mean with Student's interval; with one seed an interval without bounds. Infinite bounds where one is NaN."""
    if len(values) > 1 and all(map(math.isfinite, values)):
        return mean_over_runs(values)
    return Score(sum(values) / len(values), -math.inf, math.inf)


def judge(shape: Shape, outcomes: Outcomes) -> Judgement:
    """Looks for one expected shape in the results; one seed shows none."""
    diverged = {name: sum("failed" in outcome for outcome in outcomes[name]) for name in sorted(named(shape))}
    if said := "; ".join(f"{name} diverged in {n} of {len(outcomes[name])} seeds" for name, n in diverged.items() if n):
        return Judgement(shape.text, "undecided", said)
    return _judge_contrast(shape, outcomes) if isinstance(shape, Contrast) else _judge_collapse(shape, outcomes)


def _judge_contrast(shape: Contrast, outcomes: Outcomes) -> Judgement:
    seeds = min(len(outcomes[name]) for name in shape.weights)
    values: list[float] = [
        sum(weight * outcomes[name][seed].get(shape.measure, math.nan) for name, weight in shape.weights.items())
        for seed in range(seeds)
    ]
    score = over_seeds(values)
    digits = 1 if shape.measure in ("knn", "linear", "effective_rank") else 3
    interval = f"[{score.low:.{digits}f}, {score.high:.{digits}f}]" if math.isfinite(score.low) else "no interval"
    expected = "" if shape.gap is None else f"; {shape.gap:g} expected from the source"
    evidence = f"{shape.measure} {score.value:+.{digits}f} {interval}, n = {seeds}{expected}"
    if score.low > 0:
        return Judgement(shape.text, "held", evidence)
    if score.high < 0:
        return Judgement(shape.text, "did not hold", evidence)
    too_wide = not (math.isfinite(score.low) and (shape.gap is None or score.high - score.low <= shape.gap))
    return Judgement(shape.text, "underpowered" if too_wide else "undecided", evidence)


def _judge_collapse(shape: Collapse, outcomes: Outcomes) -> Judgement:
    seen = [has_collapsed(outcome) for outcome in outcomes[shape.variant]]
    evidence = (
        f"{sum(seen)} of {len(seen)} seeds collapsed (same image minus other images below {LIMITS.cosine_gap:g}, "
        f"and effective rank below {LIMITS.effective_rank:g} or std below {LIMITS.std_ratio:g})"
    )
    if len(seen) == 1:
        return Judgement(shape.text, "underpowered", evidence)
    if all(value == shape.expected for value in seen):
        return Judgement(shape.text, "held", evidence)
    if all(value != shape.expected for value in seen):
        return Judgement(shape.text, "did not hold", evidence)
    return Judgement(shape.text, "undecided", evidence)


def has_collapsed(outcome: Mapping[str, Any]) -> bool:
    """Whether the run's last look, in train mode, found one projection for all images."""
    return is_collapsed(CollapseWatch(**outcome["collapse"]))
