"""Fits the limits of the collapse verdict on half of the runs of studies, and reports its errors on the others.

    byol study normalization --out runs/normalization
    python -m benchmarks.collapse_studies benchmarks/collapse_studies.json runs/heads ... --unseen runs/normalization

A run has collapsed where a linear probe gains nothing over the encoder that the training began with: where the 95 %
interval of the gain, paired over the test images, reaches down to 0. Variants are told in two kinds, those of which a
seed has collapsed and the others; the fit takes every second of either kind with all its seeds. The other variants
judge it, and so do the studies after `--unseen` and the runs of benchmarks/collapse_thresholds.json. A variant that is
the same training as an earlier one is left out.
"""

import argparse
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import byol
from benchmarks.collapse_thresholds import lines, wrong
from byol.assembly.encoder import untrained_encoder
from byol.assembly.settings import Asked
from byol.assembly.trained_run import TrainedRun
from byol.data.labelled import labelled_splits
from byol.data.source import ImageSource
from byol.data.subset import Subset
from byol.diagnostics.collapse import CollapseWatch, Limits, health
from byol.encoder.encoder import Encoder
from byol.engine.metrics import read_metrics
from byol.evaluate.features import extract
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import paired_difference
from byol.recipes import recipe
from byol.runtime.files import read_json, write_json

NUM_LABELS = 3000


def probe(encoder: Encoder, train: ImageSource, test: ImageSource) -> Tensor:
    """Which test images a linear probe on NUM_LABELS training images gets right, (N,) in {0, 1}."""
    channels, device = encoder.description.in_channels, torch.device("cpu")
    bank = extract(encoder, Subset(train, np.arange(min(NUM_LABELS, len(train))), "bank"), channels, device)
    queries = extract(encoder, test, channels, device)
    assert bank.labels is not None and queries.labels is not None
    return (fit_linear(bank.vectors, bank.labels).predict(queries.vectors) == queries.labels).float()


def measured(run: Path, untrained: dict[str, Tensor]) -> dict[str, Any]:
    """The run's gain by the linear probe, (value, low, high) in points; measured once and kept in its folder."""
    kept = run / "linear_gain.json"
    if found := read_json(kept):
        return found
    trained = TrainedRun.open(run)
    config = trained.config
    train, test = labelled_splits(trained.data)

    def once(key: str, encoder: Callable[[], Encoder]) -> Tensor:
        if key not in untrained:
            untrained[key] = probe(encoder(), train, test)
        return untrained[key]

    start = json.dumps([trained.data.data, config.seed, config.views.size, dataclasses.asdict(config.encoder)])
    before = once(start, lambda: untrained_encoder(Asked(config, recipe(trained.recipe)), train))
    gain = paired_difference(probe(byol.load(run), train, test), before)
    found = {"gain": [round(x, 2) for x in (gain.value, gain.low, gain.high)], "num_images": len(before)}
    write_json(kept, found)
    return found


def row(run: Path, untrained: dict[str, Tensor]) -> dict[str, Any]:
    """What is known of a finished run."""
    outcome = read_json(run / "outcome.json") or {}
    seen = CollapseWatch(**outcome["collapse"])
    gain = measured(run, untrained)["gain"]
    return {
        "name": f"{run.parent.name}: {outcome['variant']}, seed {outcome['seed']}",
        "variant": f"{run.parent.name}: {outcome['variant']}",
        "gain": gain,
        "collapsed": gain[1] <= 0,
        "seen": seen,
        "looks": read_metrics(run / "metrics.jsonl"),
        "measures": {name: getattr(seen, name) for name in Limits.__dataclass_fields__},
    }


def between(values: list[float]) -> list[tuple[float, float]]:
    """(middle, width) of every gap between neighbouring values."""
    return [((low + high) / 2, high - low) for low, high in itertools.pairwise(sorted(set(values)))]


def fit(rows: list[dict[str, Any]]) -> Limits:
    """Limits with the fewest mistakes of the verdict, where "partially collapsed" is half of one of any run.

    Every limit is the middle of a gap between two runs; among equals that of the widest gap, the first limit's first.
    """
    names = [f.name for f in dataclasses.fields(Limits)]
    seen = {name: np.array([r["measures"][name] for r in rows]) for name in names}
    collapsed = np.array([r["collapsed"] for r in rows])

    def cost(limits: tuple[tuple[float, float], ...]) -> tuple[float, ...]:
        gap, rank, std = (seen[name] < limit for name, (limit, _) in zip(names, limits, strict=True))
        called = ((gap & (rank | std)).astype(int) + (gap | rank | std)) / 2
        return (np.abs(called - collapsed).sum(), *(-width for _, width in limits))

    best = min(itertools.product(*(between(list(seen[name])) for name in names)), key=cost)
    return Limits(*(float(f"{limit:.4g}") for limit, _ in best))


def mistakes(rows: list[dict[str, Any]], limits: Limits) -> dict[str, Any]:
    """How many runs of either kind there are, and the verdict's word on those that it gets wrong or doubts."""
    words = {r["name"]: health(r["seen"], limits) for r in rows}
    return {
        "num_runs": len(rows),
        "num_collapsed": sum(r["collapsed"] for r in rows),
        **wrong([{**r, "verdict": {"watch": words[r["name"]]}} for r in rows], "watch"),
        "called_partially_collapsed": [
            r["name"] for r in rows if not r["collapsed"] and words[r["name"]] == "partially collapsed"
        ],
    }


def looks(rows: list[dict[str, Any]], limits: Limits) -> dict[str, Counter[str]]:
    """What the verdict says during trainings that gained, look by look: in the first tenth of the steps, and later."""
    counts: dict[str, Counter[str]] = {"first_tenth": Counter(), "later": Counter()}
    for r in (r for r in rows if not r["collapsed"]):
        before = None  # the log repeats a look until there is another
        for line in r["looks"]:
            seen = CollapseWatch(*(line[f.name] for f in dataclasses.fields(CollapseWatch)))
            if seen != before:
                when = "first_tenth" if line["step"] < r["looks"][-1]["step"] / 10 else "later"
                counts[when][health(seen, limits)] += 1
            before = seen
    return counts


def other_runs() -> list[dict[str, Any]]:
    """The runs of benchmarks/collapse_runs.py."""
    found = json.loads(Path(__file__).with_name("collapse_thresholds.json").read_text())["runs"]
    names = [f.name for f in dataclasses.fields(CollapseWatch)]
    return [{**r, "seen": CollapseWatch(*(r["measures"][f"watch.{name}"] for name in names))} for r in found]


def rows_of(studies: list[str], untrained: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The finished runs of studies in the order of their folders; without those that diverged."""
    outcomes = [path for study in studies for path in sorted(Path(study).glob("*/outcome.json"))]
    return [row(path.parent, untrained) for path in outcomes if "collapse" in (read_json(path) or {})]


def halves_of(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Every second variant of either kind, and the others."""
    by_variant: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        by_variant.setdefault(r["variant"], []).append(r)
    collapsed = {name: any(r["collapsed"] for r in runs) for name, runs in by_variant.items()}
    kinds = [[name for name in by_variant if collapsed[name] == kind] for kind in (True, False)]
    return [[r for kind in kinds for name in kind[half::2] for r in by_variant[name]] for half in (0, 1)]


def distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without runs that are an earlier one's training: that have seen exactly the same."""
    return list({r["seen"]: r for r in reversed(rows)}.values())[::-1]


def main(out: str, studies: list[str], unseen: list[str]) -> None:
    untrained: dict[str, Tensor] = {}
    known, later = rows_of(studies, untrained), rows_of(unseen, untrained)
    rows = distinct(known + later)
    halves = halves_of([r for r in rows if r in known])
    limits = fit(halves[0])
    judged = {"fitting": halves[0], "held_out": halves[1], "unseen": [r for r in rows if r in later]}
    summary = {
        "limits": dataclasses.asdict(limits),
        "verdict": {name: mistakes(part, limits) for name, part in {**judged, "other_runs": other_runs()}.items()},
        "looks_at_runs_that_gained": looks([r for part in judged.values() for r in part], limits),
        "runs": [
            {
                **{k: r[k] for k in ("name", "gain", "collapsed")},
                "part": part,
                "verdict": health(r["seen"], limits),
                "measures": {k: float(f"{v:.4g}") for k, v in r["measures"].items()},
            }
            for part, members in judged.items()
            for r in members
        ],
    }
    Path(out).write_text(lines(summary))
    print(limits)
    for name, found in summary["verdict"].items():
        missed, alarms = len(found["missed"]), len(found["false_alarms"])
        print(
            f"{name}: {found['num_runs']} runs, {found['num_collapsed']} collapsed, {missed} missed, {alarms} false alarms"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--unseen", nargs="*", default=[])
    given = parser.parse_args()
    main(given.out, given.studies, given.unseen)
