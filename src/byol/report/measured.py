"""Accuracies of a run that earlier commands wrote into its directory."""

from dataclasses import dataclass
from pathlib import Path

from byol.evaluate.probes import PROBES
from byol.evaluate.results import read_results
from byol.evaluate.scores import Score
from byol.runtime.files import read_json

FEATURES = {"byol": "BYOL", "random": "the same encoder, untrained", "pixels": "raw pixels"}


@dataclass(frozen=True)
class Measured:
    """One accuracy from the run directory."""

    what: str
    """Protocol and metric."""
    score: Score
    of: str
    """Test images."""
    is_baseline: bool = False
    """Whether it was measured without the trained encoder."""


def measured(path: Path) -> list[Measured]:
    """Accuracies in the run directory `path`, of `byol evaluate` and of the demo."""
    return _protocols(path) + _demo(path)


def _protocols(path: Path) -> list[Measured]:
    measured = []
    for record in read_results(path):
        metric, values = next(iter(record["metrics"].items()))
        score = Score(*(float(values[name]) for name in ("value", "low", "high")))
        of = f"{record['test']['num_images']:,} images of {record['test']['images']}, {record['network']}"
        name = " ".join(part for part in (record["protocol"], record["variant"], metric) if part)
        measured.append(Measured(name, score, of, record["protocol"] == "supervised"))
    return measured


def _demo(path: Path) -> list[Measured]:
    """Accuracies in demo.json, which is one folder higher for several seeds."""
    content = read_json(path / "demo.json")
    if content is None and path.name.startswith("seed-"):
        content = read_json(path.parent / "demo.json")
    scores, num_seeds = (content or {}).get("scores", {}), (content or {}).get("num_seeds", 1)
    of = "2,000 test images" + (f", mean over {num_seeds} seeds" if num_seeds > 1 else "")
    return [
        Measured(
            f"{PROBES.get(probe, probe)}, {FEATURES.get(features, features)}",
            Score(**score),
            of,
            features != "byol",
        )
        for probe in PROBES
        for features in FEATURES
        if (score := scores.get(features, {}).get(probe))
    ]
