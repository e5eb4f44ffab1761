"""Judgement of a study's results: comparison with the expected shapes, with intervals over the seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from byol.diagnostics.collapse import LIMITS, CollapseWatch, is_collapsed
from byol.evaluate.scores import Score, mean_over_runs
from byol.studies.study import Collapse, Contrast, Shape, variant_names

Outcomes = Mapping[str, list[Mapping[str, Any]]]
"""Outcomes by variant, one per seed in their order: measures by name, with `collapse`, or with `failed` if it diverged."""


@dataclass(frozen=True)
class Judgement:
    """State of an expected shape after the runs, with the evidence."""

    text: str
    state: Literal["held", "did not hold", "undecided", "underpowered"]
    evidence: str


def over_seeds(values: list[float]) -> Score:
    """Mean with Student's interval; its bounds are infinite for a single value or if a value is not finite."""
    if len(values) > 1 and all(map(math.isfinite, values)):
        return mean_over_runs(values)
    return Score(sum(values) / len(values), -math.inf, math.inf)


def judge(shape: Shape, outcomes: Outcomes) -> Judgement:
    """Judgement of one expected shape. A single seed is always underpowered; a diverged run leaves the shape undecided."""
    diverged = {name: sum("failed" in outcome for outcome in outcomes[name]) for name in sorted(variant_names(shape))}
    if divergence := "; ".join(
        f"{name} diverged in {n} of {len(outcomes[name])} seeds" for name, n in diverged.items() if n
    ):
        return Judgement(shape.text, "undecided", divergence)
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
    collapsed = [has_collapsed(outcome) for outcome in outcomes[shape.variant]]
    evidence = (
        f"{sum(collapsed)} of {len(collapsed)} seeds collapsed (same image minus other images below {LIMITS.cosine_gap:g}, "
        f"and effective rank below {LIMITS.effective_rank:g} or std below {LIMITS.std_ratio:g})"
    )
    if len(collapsed) == 1:
        return Judgement(shape.text, "underpowered", evidence)
    if all(value == shape.expected for value in collapsed):
        return Judgement(shape.text, "held", evidence)
    if all(value != shape.expected for value in collapsed):
        return Judgement(shape.text, "did not hold", evidence)
    return Judgement(shape.text, "undecided", evidence)


def has_collapsed(outcome: Mapping[str, Any]) -> bool:
    """Whether the run's last collapse check, in train mode, found almost the same projection for all images."""
    return is_collapsed(CollapseWatch(**outcome["collapse"]))
