"""The report of a study: protocol, results with the paper's numbers next to ours, and judgements, as text."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from byol.evaluate.branch_measures import NUM_DRAWS, NUM_IMAGES
from byol.evaluate.knn import NEIGHBOURS, TEMPERATURE
from byol.evaluate.linear import STRENGTHS
from byol.studies import find_study
from byol.studies.judge import Judgement, Outcomes, has_collapsed, judge, over_seeds
from byol.studies.runs import Task
from byol.studies.study import UNTRAINED, ScaleName, Study, Variant, variant_settings

COLUMNS = {
    "knn": "kNN, %",
    "linear": "linear, %",
    "std_ratio": "std (1: isotropic)",
    "effective_rank": "effective rank",
    "positive_cosine": "cosine, same image",
    "negative_cosine": "cosine, other images",
    "source_variance": "variance over views, source",
    "target_variance": "variance over views, target",
}
ACCURACIES = ("knn", "linear")
TITLES = {**COLUMNS, **{measure: f"{COLUMNS[measure]} (band: untrained)" for measure in ACCURACIES}}
PROBES = {
    "l-bfgs": f"a linear probe (L-BFGS, the best of {len(STRENGTHS)} strengths on a fifth of the training images)",
    "sgd": "a linear probe by the paper's protocol (SGD on augmented images, 80 epochs)",
}
POSSIBLE = {
    "knn": (0, 100), "linear": (0, 100), "std_ratio": (0, math.inf), "effective_rank": (1, math.inf), "positive_cosine": (-1, 1),
    "negative_cosine": (-1, 1), "source_variance": (0, 1), "target_variance": (0, 1),
}  # fmt: skip
"""Possible range of each measure, at which the plot cuts off intervals."""
LEGEND = "Point and bar: mean over the seeds (gray) and Student's 95 % interval, cut off at possible values. Diamond: the paper's number."


@dataclass(frozen=True)
class StudyResult:
    """Outcomes of a study's finished runs, with judgements."""

    study: Study
    scale: ScaleName
    outcomes: Outcomes
    judgements: list[Judgement]
    protocol: list[str]


def protocol(
    study: Study,
    scale: ScaleName,
    num_seeds: int,
    images: Mapping[str, int],
    data: str,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Lines with the plan and the expected results of a study, shown and written before the first run.

    `images`: number of images per run, by variant.
    """
    other = "of another training than this scale's; " if scale == "paper" and not study.repeats_paper else ""
    changed = _written(settings) if settings else ""
    lines = [
        f"study {study.name}, scale {scale}: {study.question_at(scale)}",
        f"  {len(study.variants_at(scale))} variants x {num_seeds} seeds on {data}, {_per_run(images)}",
        f"  recipe {study.scales[scale].recipe}: {_written(study.scales[scale].settings)}",
        *(f"    {v.name}: {_written(variant_settings(v, scale))}" for v in study.variants_at(scale)),
        *([f"  changed in all variants: {changed}"] if changed else []),
        f"  accuracy, of the encoder's features in eval mode: kNN (k {NEIGHBOURS}, T {TEMPERATURE}), and {PROBES[study.scales[scale].probe]}; "
        f"std, rank and cosines: projections of {NUM_IMAGES} training images in train mode; "
        f"variance: their unit projections over {NUM_DRAWS} draws of both views; collapse: by the last step of the training",
        f"  the paper's numbers: {other}{study.source} ({study.paper_metric})",
        f"  expected beforehand, of accuracies by {'the linear probe' if scale == 'paper' else 'kNN'}:",
    ]
    return lines + [f"    {shape.text}" for shape in study.shapes_at(scale)]


def _written(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "as it is"


def _per_run(images: Mapping[str, int]) -> str:
    most = max(images.values())
    fewer = [f"{count:,} for {variant}" for variant, count in images.items() if count != most]
    return f"{most:,} images per run, " + (
        f"but {', '.join(fewer)}, which costs more for each" if fewer else "the same for all"
    )


def collect(study: Study, scale: ScaleName, tasks: list[Task], protocol: list[str]) -> StudyResult:
    """Result of a study from its tasks, which must all be finished."""
    outcomes: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        outcome = task.outcome
        assert outcome is not None, task.path
        outcomes.setdefault(task.variant or UNTRAINED, []).append(outcome)
    judgements = [judge(shape, outcomes) for shape in study.shapes_at(scale)]
    return StudyResult(study, scale, outcomes, judgements, protocol)


def table(result: StudyResult) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the result as text: means over seeds with Student's 95 % interval, and numbers of collapsed runs."""
    untrained = Variant(UNTRAINED, {}, result.study.paper_untrained)
    variants = {v.name: v for v in (*result.study.variants, untrained)}
    measures = measures_of(result)
    after = sum(measure in ACCURACIES for measure in measures)
    rows = []
    for name in [*(n for n in result.outcomes if n != UNTRAINED), UNTRAINED]:
        outcomes = result.outcomes[name]
        cells = [_cell(outcomes, measure) for measure in measures]
        cells.insert(after, _collapses(outcomes))
        rows.append([name, *cells, _paper(variants[name])])
    titles = [COLUMNS[measure] for measure in measures]
    titles.insert(after, "collapsed")
    return ["variant", *titles, f"paper: {result.study.paper_measure}"], rows


def measures_of(result: StudyResult) -> list[str]:
    """Measures that a run of the study has; runs of earlier versions have no linear probe."""
    present = {measure for outcomes in result.outcomes.values() for outcome in outcomes for measure in outcome}
    return [measure for measure in COLUMNS if measure in present]


def _paper(variant: Variant) -> str:
    """A variant's result in the source, with the source's name for it if that differs."""
    return "" if variant.paper is None else f"{variant.paper:g}{variant.paper_name and f' ({variant.paper_name})'}"


def _collapses(outcomes: list[Mapping[str, Any]]) -> str:
    """Number of seeds whose run collapsed, without those that diverged."""
    collapsed = [has_collapsed(outcome) for outcome in outcomes if "collapse" in outcome]
    return f"{sum(collapsed)} of {len(collapsed)}" if collapsed else ""


def _cell(outcomes: list[Mapping[str, float]], measure: str) -> str:
    if any("failed" in outcome for outcome in outcomes):
        return "diverged"
    if any(measure not in outcome for outcome in outcomes):
        return ""
    score = over_seeds([outcome[measure] for outcome in outcomes])
    digits = 1 if measure in (*ACCURACIES, "effective_rank") else 2
    interval = f" [{score.low:.{digits}f}, {score.high:.{digits}f}]" if math.isfinite(score.low) else ""
    return f"{score.value:.{digits}f}{interval}"


def scores_of(outcomes: list[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and interval over the seeds for each measure that every seed has."""
    in_all = [measure for measure in COLUMNS if all(measure in outcome for outcome in outcomes)]
    return {measure: asdict(over_seeds([outcome[measure] for outcome in outcomes])) for measure in in_all}


def lines(result: StudyResult) -> list[str]:
    """Lines with the state of each expected shape."""
    return ["expected, and seen:"] + [f"  {j.state:12}  {j.text}: {j.evidence}" for j in result.judgements]


def markdown(result: StudyResult) -> str:
    """Two Markdown tables: the results, and the expected shapes with their states."""
    judged = [[j.text, j.state, j.evidence] for j in result.judgements]
    return "\n".join([*_grid(*table(result)), "", *_grid(["expected", "seen", "evidence"], judged)])


def _grid(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]


def read(path: Path) -> StudyResult:
    """Result from a study.json, judged by today's rules. Raises ConfigError if the study no longer exists."""
    content = json.loads(path.read_text())
    study, scale = find_study(content["study"]), content["scale"]
    outcomes = {name: [_restored(outcome) for outcome in seeds] for name, seeds in content["outcomes"].items()}
    judgements = [judge(shape, outcomes) for shape in study.shapes_at(scale)]
    return StudyResult(study, scale, outcomes, judgements, content["protocol"])


def _restored(outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    """The outcome with NaN in place of null."""
    return {
        name: _restored(value) if isinstance(value, Mapping) else math.nan if value is None else value
        for name, value in outcome.items()
    }
