"""How often the collapse verdict errs on the runs of studies, and which limits would have been fitted on half of them.

    byol study normalization --out runs/normalization
    python -m benchmarks.collapse_studies benchmarks/collapse_studies.json runs/normalization ...

As in benchmarks/collapse_thresholds.py a run has collapsed where a linear probe gains nothing over the encoder that the
training began with: where the 95 % interval of the gain, paired over the test images, reaches down to 0. The limits of
the verdict were fitted on other runs, so all runs here judge them. The fit takes every second variant with all its seeds, and the
other variants judge it.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import byol
from benchmarks.collapse_thresholds import fit, lines, wrong
from byol import build
from byol.commands.evaluate import labelled_splits
from byol.config import Config, from_dict
from byol.data.source import ImageSource
from byol.data.subset import Subset
from byol.diagnostics.collapse import LIMITS, CollapseWatch, Limits, health
from byol.evaluate.features import extract
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import paired_difference
from byol.export.encoder_file import Encoder
from byol.runtime.record import RunDirectory, read_json, write_json

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
    record = RunDirectory.open(run).record()
    config = from_dict(Config, record["config"])
    train, test = labelled_splits(record["data"]["data"], root=record["data"]["root"])

    def once(key: str, encoder: Callable[[], Encoder]) -> Tensor:
        if key not in untrained:
            untrained[key] = probe(encoder(), train, test)
        return untrained[key]

    start = json.dumps([record["data"]["data"], config.seed, config.views.size, dataclasses.asdict(config.encoder)])
    before = once(start, lambda: build.untrained_encoder(config, train))
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
        "measures": {name: getattr(seen, name) for name in Limits.__dataclass_fields__},
    }


def limit(rows: list[dict[str, Any]], name: str) -> float:
    """Fitted to the rows; the present one where collapsed runs do not lie below."""
    threshold, below = fit(rows, name)
    return float(f"{threshold:.4g}") if below else getattr(LIMITS, name)


def mistakes(rows: list[dict[str, Any]], limits: Limits) -> dict[str, list[str]]:
    """Runs that the verdict misses, and those that it calls collapsed though they gained."""
    return wrong([{**r, "verdict": {"watch": health(r["seen"], limits)}} for r in rows], "watch")


def main(out: str, *studies: str) -> None:
    untrained: dict[str, Tensor] = {}
    outcomes = sorted(path for study in studies for path in Path(study).glob("*/outcome.json"))
    rows = [row(path.parent, untrained) for path in outcomes if "collapse" in (read_json(path) or {})]
    variants = list(dict.fromkeys(r["variant"] for r in rows))
    fitting = [r for r in rows if variants.index(r["variant"]) % 2 == 0]
    holding = [r for r in rows if variants.index(r["variant"]) % 2 == 1]
    fitted = Limits(**{name: limit(fitting, name) for name in Limits.__dataclass_fields__})
    summary = {
        "num_runs": len(rows),
        "num_collapsed": sum(r["collapsed"] for r in rows),
        "limits": dataclasses.asdict(LIMITS),
        "errors": mistakes(rows, LIMITS),
        "fitted_on_half": dataclasses.asdict(fitted),
        "errors_of_fitted": {"fitting": mistakes(fitting, fitted), "held_out": mistakes(holding, fitted)},
        "num_fitting": len(fitting),
        "errors_of_limits_held_out": mistakes(holding, LIMITS),
        "runs": [
            {
                **{k: r[k] for k in ("name", "gain", "collapsed")},
                "verdict": health(r["seen"]),
                "measures": {k: float(f"{v:.4g}") for k, v in r["measures"].items()},
            }
            for r in rows
        ],
    }
    Path(out).write_text(lines(summary))
    counted = {half: sum(map(len, kinds.values())) for half, kinds in summary["errors_of_fitted"].items()}
    print(f"{len(rows)} runs, {summary['num_collapsed']} collapsed")
    print(f"the verdict errs in {sum(map(len, summary['errors'].values()))}: {summary['errors']}")
    print(f"fitted on {len(fitting)} of them: {fitted}, errors {counted}")


if __name__ == "__main__":
    main(*sys.argv[1:])
