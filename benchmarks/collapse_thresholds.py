"""Fits a threshold for each measure of collapse on half of the small runs, and reports its errors on the other half.

    python -m benchmarks.collapse_runs WORK
    python -m benchmarks.collapse_thresholds WORK benchmarks/collapse_thresholds.json

A run has collapsed where a linear probe is no better than on its random initialisation: where the 95 % interval of
the gain, paired over the images, reaches down to 0. For every measure: the threshold with the fewest errors on the
fitting half (every second run of either kind, in the order of the trials), in the middle of the widest gap among
equals, and the errors on the other half. The limits of the verdict were first taken from here; today they are those of
benchmarks/collapse_studies.py, which these runs judge.
"""

import dataclasses
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.collapse_runs import TRIALS, labelled_parts, networks, resolved
from byol.assembly.views import build_views
from byol.commands.diagnose import measure
from byol.data.source import ImageSource
from byol.diagnostics.collapse import CollapseWatch, Limits, health
from byol.evaluate.view_encodings import ViewedImages
from byol.runtime import checkpoint

NUM_IMAGES, NUM_PAIRS = 512, 2
REPORTED = ("watch.", "train.projection.", "train.predictor.", "train.networks.", "eval.representation.")
"""The measures whose own thresholds are reported; of the runs the first kind alone."""


def measured(folder: Path, number: int, source: ImageSource) -> dict[str, Any]:
    """The run's accuracies and measures, by dotted name; measured once and kept in its folder."""
    kept = folder / "measures.json"
    if kept.exists():
        return json.loads(kept.read_text())
    found = json.loads((folder / "trial.json").read_text())
    trial = TRIALS[found["name"]]
    config = resolved(trial, source)
    _, state = checkpoint.load_newest(folder / "checkpoints")
    method = networks(trial, config)
    method.load_state_dict(state["method"])
    views = build_views(dataclasses.replace(config, batch_size=NUM_IMAGES, seed=12345))
    images = ViewedImages(source, 1, views, NUM_PAIRS, config.batch_size)
    by_mode = measure(method, images, NUM_IMAGES, torch.device("cpu"))
    flat: dict[str, Any] = {
        f"{mode}.{part}.{name}": value if math.isfinite(value) else None
        for mode, parts in by_mode.items()
        for part, values in parts.items()
        for name, value in values.items()
        if name != "dimensions"
    }
    flat |= {f"watch.{name}": value for name, value in (state["collapse"] or {}).items()}
    for mode in ("train", "eval"):
        both = f"{mode}.networks."
        flat[both + "cosine_gap"] = flat[both + "positive_cosine"] - flat[both + "negative_cosine"]
    flat["watch.cosine_gap"] = flat["watch.positive_cosine"] - flat["watch.negative_cosine"]
    row = {"number": number, **{k: found[k] for k in ("name", "random", "trained", "gain")}}
    kept.write_text(json.dumps({**row, "measures": flat}, indent=1) + "\n")
    return json.loads(kept.read_text())


def fit(rows: list[dict[str, Any]], name: str) -> tuple[float, bool]:
    """(threshold, whether collapsed runs lie below it) with the fewest errors; in the widest gap among equals."""
    values = sorted({r["measures"][name] for r in rows})
    middles = [((a + b) / 2, b - a) for a, b in itertools.pairwise(values)]
    candidates = [(errors(rows, name, t, below), -gap, t, below) for t, gap in middles for below in (True, False)]
    _, _, threshold, below = min(candidates)
    return threshold, below


def errors(rows: list[dict[str, Any]], name: str, threshold: float, below: bool) -> int:
    """How many rows the rule gets wrong."""
    return sum(((r["measures"][name] < threshold) == below) != r["collapsed"] for r in rows)


def wrong(rows: list[dict[str, Any]], source: str) -> dict[str, list[str]]:
    """Runs that collapsed and were not called so, and the other way round."""
    called = {row["name"]: row["verdict"][source] == "collapsed" for row in rows}
    return {
        "missed": [r["name"] for r in rows if r["collapsed"] and not called[r["name"]]],
        "false_alarms": [r["name"] for r in rows if not r["collapsed"] and called[r["name"]]],
    }


def lines(summary: dict[str, Any]) -> str:
    """JSON with a line for each rule and run."""
    marked = {name: {"rules": "RULES", "runs": "RUNS"}.get(name, value) for name, value in summary.items()}
    rules = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rule)}" for name, rule in summary.get("rules", {}).items())
    runs = ",\n".join(f"  {json.dumps(run)}" for run in summary["runs"])
    text = json.dumps(marked, indent=1).replace('"RULES"', f"{{\n{rules}\n }}").replace('"RUNS"', f"[\n{runs}\n ]")
    return text + "\n"


def _watch(measures: dict[str, float], source: str) -> CollapseWatch:
    """The watch as the training left it, or made of what `byol diagnose` measures in train or eval mode."""
    projection, networks = ("watch.",) * 2 if source == "watch" else (f"{source}.projection.", f"{source}.networks.")
    return CollapseWatch(
        measures[projection + "std_ratio"],
        measures[projection + "effective_rank" if source == "watch" else networks + "unit_effective_rank"],
        measures[networks + "positive_cosine"],
        measures[networks + "negative_cosine"],
    )


def main(work: str, out: str) -> None:
    torch.set_num_threads(1)
    source, _ = labelled_parts()
    folders = sorted(path.parent for path in Path(work).glob("*/trial.json"))
    diverged = [f.name for f in folders if "diverged" in json.loads((f / "trial.json").read_text())]
    rows = [measured(f, int(f.name), source) for f in folders if f.name not in diverged]
    for row in rows:
        row["collapsed"] = row["gain"]["linear"][1] <= 0
    kinds = [[r for r in rows if r["collapsed"]], [r for r in rows if not r["collapsed"]]]
    fitting = [r for kind in kinds for r in kind[::2]]
    holding = [r for kind in kinds for r in kind[1::2]]
    names = [n for n in rows[0]["measures"] if n.startswith(REPORTED)]
    names = [n for n in names if all(r["measures"].get(n) is not None for r in rows)]
    rules = {}
    for name in names:
        threshold, below = fit(fitting, name)
        rules[name] = {
            "collapsed": "below" if below else "above",
            "threshold": float(f"{threshold:.4g}"),
            "errors_fitting": errors(fitting, name, threshold, below),
            "errors_held_out": errors(holding, name, threshold, below),
        }
    limits = Limits(**{f.name: rules[f"watch.{f.name}"]["threshold"] for f in dataclasses.fields(Limits)})
    for row in rows:
        row["verdict"] = {
            source: health(_watch(row["measures"], source), limits) for source in ("watch", "train", "eval")
        }
    summary = {
        "limits": dataclasses.asdict(limits),
        "errors_of_verdict": {
            source: {half: wrong(part, source) for half, part in (("fitting", fitting), ("held_out", holding))}
            for source in ("watch", "train", "eval")
        },
        "num_runs": len(rows),
        "num_collapsed": len(kinds[0]),
        "num_diverged": len(diverged),
        "num_fitting": len(fitting),
        "num_held_out": len(holding),
        "rules": dict(sorted(rules.items(), key=lambda item: item[1]["errors_fitting"])),
        "runs": [
            {
                **{k: row[k] for k in ("name", "random", "trained", "gain", "collapsed", "verdict")},
                "half": "fitting" if row in fitting else "held out",
                "measures": {k: float(f"{v:.4g}") for k, v in row["measures"].items() if k.startswith("watch.")},
            }
            for row in rows
        ],
    }
    Path(out).write_text(lines(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
