"""Adaptations that help and that hurt, with what measures without labels said and what labels say.

    python -m benchmarks.adaptations LEDGER.jsonl --start NAME=FOLDER --data NAME=FOLDER --epochs 3 @benchmarks/adaptations.txt

Each trial is a name and settings of the recipe (`name: setting=value ...`), for every start and data set. `byol adapt` runs
without labels; then kNN, linear and ten labels per class are measured on a held-out fifth (or the
test part) for the start and the end. `--jobs`
trials run at a time, with a thread each. One line of JSON per trial is appended to the ledger; a trial that stands there is not repeated.
"""

import argparse
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tools.pool import run_trials
from tools.search import parse

import byol
from byol.commands.adapt import RECORD
from byol.data.labelled import labelled_splits
from byol.data.prepare_photos import shrink_photos
from byol.data.spec import DataSpec
from byol.encoder.encoder import Encoder
from byol.evaluate.guard import looks_harmed
from byol.evaluate.probes import probe_correct

NOISE = 1.5
"""Smallest change of the mean accuracy that counts, in points: about its standard error on 600 images."""
KEY: tuple[str, ...] = ("start", "data", "name", "seed", "epochs")


@cache
def accuracies_of_start(folder: str, data: str) -> dict[str, float]:
    return accuracies(byol.load(folder), data)


def accuracies(encoder: Encoder, data: str) -> dict[str, float]:
    """Accuracy in percent on the held-out fifth, by probe."""
    about = encoder.description
    train, test = (
        shrink_photos(part, about.in_channels, about.stored_side, DataSpec(data)) for part in labelled_splits(data)
    )
    found = probe_correct(encoder, train, test, about.in_channels, torch.device("cpu"))
    return {probe: round(100 * float(correct.mean()), 2) for probe, correct in found.items()}


def trial(key: dict[str, Any], start: str, data: str, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """One adaptation, and the accuracies of its start and milestones."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        result = byol.adapt(
            start,
            data,
            out=out,
            overrides=settings,
            seed=key["seed"],
            epochs=key["epochs"],
            threads=threads,
            milestones=1,
            say=lambda line: None,
        )
        record = json.loads((out / RECORD).read_text())
        before, *_, after = record["measured"]
        before["labels"] = accuracies_of_start(start, data)
        after["labels"] = accuracies(byol.load(out / "run"), data)
        return {
            **key,
            "settings": settings,
            "verdict": record["verdict"],
            "run": result.run.verdict,
            "measured": [before, after],
        }


def judge(rows: list[dict[str, Any]]) -> str:
    """Counts of the guard's word without labels beside what labels say, on the half that chose its limits and on the other half.

    Harm: the mean of kNN and linear accuracy fell by more than `NOISE` points. Rows are sorted; every second one chooses.
    """
    unique = {tuple(row[name] for name in KEY): row for row in rows}
    ordered = [unique[key] for key in sorted(unique)]
    lines = []
    for words, half in (("half that chose the limits", ordered[::2]), ("other half", ordered[1::2])):
        counts: dict[tuple[bool, str], int] = {}
        for row in half:
            before, after = row["measured"]
            change = sum(after["labels"][probe] - before["labels"][probe] for probe in ("knn", "linear")) / 2
            truth = "harm" if change < -NOISE else "gain" if change > NOISE else "neither"
            key = (looks_harmed(before, after), truth)
            counts[key] = counts.get(key, 0) + 1
        for said in (True, False):
            found = ", ".join(f"{counts.get((said, truth), 0)} {truth}" for truth in ("harm", "neither", "gain"))
            lines.append(f"{words}: {'looks harmed' if said else 'does not'}: {found}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("ledger", type=Path)
    parser.add_argument("trials", nargs="*", metavar="NAME: SETTING=VALUE ...", help="none: judge the ledger")
    parser.add_argument("--start", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_intermixed_args(arguments)
    lines = chosen.ledger.read_text().splitlines() if chosen.ledger.exists() else []
    if not chosen.trials:
        print(judge([json.loads(line) for line in lines]))
        return
    done = {tuple(json.loads(line)[name] for name in KEY) for line in lines}
    tasks = []
    for seed in chosen.seeds:
        for name, settings in map(parse, chosen.trials):
            for start, data in ((s, d) for d in chosen.data for s in chosen.start):
                (start_name, _, folder), (data_name, _, images) = start.partition("="), data.partition("=")
                key = dict(zip(KEY, (start_name, data_name, name, seed, chosen.epochs), strict=True))
                if tuple(key.values()) not in done:
                    arguments = (key, folder, images, settings, chosen.threads)
                    tasks.append((" ".join(map(str, key.values())), arguments))
    for row in run_trials(trial, tasks, chosen.ledger, chosen.jobs):
        first, last = row["measured"][0]["labels"], row["measured"][-1]["labels"]
        print(row["start"], row["data"], row["name"], first, last, flush=True)


if __name__ == "__main__":
    main()
