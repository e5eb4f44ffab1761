"""The demo on the bundled images: pretrain, evaluate, compare with raw pixels and with the untrained encoder."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from byol.assembly.encoder import untrained_encoder
from byol.assembly.settings import Asked
from byol.commands.pretrain import Request, start
from byol.config import Config
from byol.data.arrays import ArrayImages
from byol.data.sample import open_sample
from byol.data.spec import DataSpec
from byol.evaluate.probes import PROBES, pixels, probe_correct
from byol.evaluate.scores import Score, accuracy, mean_over_runs, paired_difference
from byol.recipes import recipe
from byol.runtime.files import write_json
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import user_path
from byol.training.plan import TimeLimit
from byol.training.run import Run

FEATURES = {"pixels": "raw pixels", "random": "encoder, untrained", "byol": "encoder, BYOL"}
"""Titles of the features that are compared."""

MINUTES = 8.0
"""Largest time of one training in minutes. With the evaluation the demo takes about ten."""


@dataclass(frozen=True)
class DemoResult:
    """Accuracies in percent on the 2,000 test images."""

    runs: list[Run]
    scores: dict[str, dict[str, Score]]
    """[features][probe]. One seed: accuracy with Wilson's interval. Several seeds: their mean with Student's interval."""
    gains: dict[str, dict[str, Score]]
    """[baseline][probe]: accuracy of BYOL minus that of the baseline, with a paired interval."""
    elapsed_seconds: float


def demo(
    out: str | Path,
    *,
    num_seeds: int = 1,
    config: Config | None = None,
    given: frozenset[str] = frozenset(),
    listener: Listener = SILENT,
) -> DemoResult:
    """Runs the recipe `sample` with seeds 0, 1, ... and writes one run directory per seed, and `demo.json`.

    `given`: dotted names of the settings that the user gave. Unless `epochs` is among them, a training that would take
    longer than MINUTES is shortened.
    """
    start_time = time.monotonic()
    config = config or recipe("sample").config
    train, test = open_sample("train"), open_sample("test")
    folders = [user_path(out)] if num_seeds == 1 else [user_path(out) / f"seed-{seed}" for seed in range(num_seeds)]
    runs, correct = [], []
    for seed, folder in enumerate(folders):
        asked = Asked(replace(config, seed=seed), recipe("sample"), given)
        limit = None if "epochs" in given else TimeLimit(MINUTES, time.monotonic(), most_epochs=config.epochs)
        request = Request(asked, "sample", DataSpec("set:sample"), train, out=folder, limit=limit)
        run = start(request, listener)
        runs.append(run)
        if not run.finished or run.signal_number:
            return DemoResult(runs, {}, {}, time.monotonic() - start_time)
        known = {"pixels": correct[0]["pixels"]} if correct else {}  # pixels do not depend on the seed
        correct.append(_all_probes(asked, run, train, test, listener, known))
    result = DemoResult(runs, _scores(correct), _gains(correct), time.monotonic() - start_time)
    content = {
        "scores": _plain(result.scores),
        "gains": _plain(result.gains),
        "num_seeds": num_seeds,
        "elapsed_seconds": result.elapsed_seconds,
    }
    write_json(user_path(out) / "demo.json", content)
    return result


def _all_probes(
    asked: Asked,
    run: Run,
    train: ArrayImages,
    test: ArrayImages,
    listener: Listener,
    known: dict[str, dict[str, Tensor]],
) -> dict[str, dict[str, Tensor]]:
    device = choose_device(asked.config.device)
    trained = run.encoder().to(device)
    untrained = untrained_encoder(asked, train).to(device)
    correct = dict(known)
    for name, encode in {"pixels": pixels, "random": untrained, "byol": trained}.items():
        if name in correct:
            continue
        listener.say(f"evaluating {FEATURES[name]} on the {len(test):,} test images")
        correct[name] = probe_correct(encode, train, test, 1, device)
    return correct


def _scores(correct: list[dict[str, dict[str, Tensor]]]) -> dict[str, dict[str, Score]]:
    def score(features: str, probe: str) -> Score:
        values = [run[features][probe] for run in correct]
        if len(values) == 1 or features == "pixels":  # pixels do not depend on the seed
            return accuracy(values[0])
        return mean_over_runs([100 * float(v.mean()) for v in values])

    return {features: {probe: score(features, probe) for probe in PROBES} for features in FEATURES}


def _gains(correct: list[dict[str, dict[str, Tensor]]]) -> dict[str, dict[str, Score]]:
    def gain(baseline: str, probe: str) -> Score:
        pairs = [(run["byol"][probe], run[baseline][probe]) for run in correct]
        if len(pairs) == 1:
            return paired_difference(*pairs[0])
        return mean_over_runs([100 * float((a - b).mean()) for a, b in pairs])

    return {baseline: {probe: gain(baseline, probe) for probe in PROBES} for baseline in ("pixels", "random")}


def _plain(table: dict[str, dict[str, Score]]) -> dict[str, dict[str, dict[str, float]]]:
    return {row: {column: asdict(score) for column, score in cells.items()} for row, cells in table.items()}


def table(result: DemoResult) -> tuple[list[str], list[list[str]]]:
    """The result as a table: (header, rows)."""
    header = ["accuracy in %, 95 % interval", *PROBES.values()]
    rows = [[FEATURES[name], *(str(cells[probe]) for probe in PROBES)] for name, cells in result.scores.items()]
    for baseline, cells in result.gains.items():
        rows.append([f"BYOL minus {FEATURES[baseline]}", *(str(cells[probe]) for probe in PROBES)])
    return header, rows
