"""Accuracy against the number of labels, by the way the labelled images are chosen (`byol select`), beside random ones.

    python -m benchmarks.labels_spent LEDGER.jsonl --data NAME=VECTORS.npz [NAME=TRAIN.npz:TEST.npz ...] [--by coverage mixed ...] [--seeds 0 1 2]
    python -m benchmarks.labels_spent LEDGER.jsonl

The vectors are those of `byol embed`, with labels, along their 256 first principal axes. The images to choose from are a random four fifths of each class, by the seed; the others are the test part, unless there are test vectors. With
--tune a quarter of the four fifths is the test part, so that a default can be chosen without the others. 10 images are chosen, labelled, then up to 20, 50, 100, 200 and 500, each time knowing all labels before. The first ten of `uncertain`, which needs labels, are those of `coverage`. A
logistic regression and 5 nearest neighbours are fitted to the labelled images. One line of JSON per set, seed and method goes to the ledger; one that stands there is not repeated. Without
--data the ledger is summed up.
"""

import argparse
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.data.subset import held_out
from byol.evaluate.duplicates import centred
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import principal_axes
from byol.evaluate.nearest import nearest
from byol.evaluate.scores import mean_over_runs
from byol.evaluate.selection import FIRST, METHODS, Known, choose, head

BUDGETS = (10, 20, 50, 100, 200, 500)
RIVALS = ("random", "k-center")
AXES = 256
"""Number of principal axes of the vectors that are looked at, so that a trial takes seconds."""
KEY = ("data", "seed", "by", "tune")
Images = tuple[Tensor, Tensor]
"""(N, D) vectors and (N,) labels."""


@cache
def read(files: str) -> list[Images]:
    """The images and, if there are any, the test images, along the `AXES` first principal axes of all the images."""
    found = []
    for path in files.split(":"):
        with np.load(path, allow_pickle=False) as file:
            found.append((torch.from_numpy(file["vector"]), torch.from_numpy(file["label"]).long()))
    mean = found[0][0].mean(dim=0)
    axes = principal_axes(found[0][0] - mean)[0][:, -AXES:]
    return [((vectors - mean) @ axes, labels) for vectors, labels in found]


def parts(files: str, seed: int, *, tune: bool) -> tuple[Images, Images]:
    """(images to choose from, test images) of a seed."""
    (vectors, labels), *tests = read(files)
    last = None if tune or not tests else tests[0]
    for share in (0.2, 0.25) if tune else (0.2,):
        kept, out = map(torch.from_numpy, held_out(labels.numpy(), share, seed))
        (vectors, labels), rest = (vectors[kept], labels[kept]), (vectors[out], labels[out])
    return (vectors, labels), last or rest


def k_center(unit: Tensor, known: Tensor, count: int) -> Tensor:
    """Images that are farthest from all before them and from the known ones (Sener and Savarese 2018)."""
    closest = nearest(unit, known, 1)[0][:, 0] if len(known) else -unit @ unit.mean(dim=0)
    images: list[int] = []
    while len(images) < count:
        images.append(int(closest.argmin()))
        similar = unit @ unit[images[-1]]
        closest = torch.maximum(closest, similar) if len(images) > 1 or len(known) else similar
        closest[images] = torch.inf
    return torch.tensor(images)


def chosen(by: str, pool: Images, known: Tensor, count: int, seed: int) -> Tensor:
    """The next images to label; `known`: those that are labelled."""
    vectors, labels = pool
    if by == "random":
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(vectors)))
        return order[len(known) : len(known) + count]
    if by == "k-center":
        unit = centred(vectors)
        return k_center(unit, unit[known], count)
    classes, codes = labels[known].unique(return_inverse=True)
    before = Known(vectors[known], codes, [str(name) for name in classes.tolist()])
    method = FIRST if by == "uncertain" and len(classes) < 2 else by
    return choose(vectors, before, count, method, seed=seed).images  # pyright: ignore[reportArgumentType]


def trial(by: str, pool: Images, test: Images, seed: int) -> dict[str, list[float]]:
    """Accuracies in percent by probe, for each of `BUDGETS`."""
    known, found = torch.empty(0, dtype=torch.long), {"linear": list[float](), "knn": list[float]()}
    mean = pool[0].mean(dim=0)
    unit, queries = centred(pool[0], mean), centred(test[0], mean)
    for budget in BUDGETS:
        known = torch.cat((known, chosen(by, pool, known, budget - len(known), seed)))
        classes, codes = pool[1][known].unique(return_inverse=True)
        answers = {
            "linear": head(unit[known], codes, queries).argmax(dim=1),
            "knn": knn_predict(unit[known], codes, queries, k=5),
        }
        for probe, answer in answers.items():
            found[probe].append(round(100 * float((classes[answer] == test[1]).float().mean()), 2))
    return found


def summary(rows: list[dict[str, Any]]) -> str:
    """A table for each probe: mean accuracy over the seeds with Student's interval."""
    lines = []
    for tune, probe in ((tune, probe) for tune in (True, False) for probe in ("linear", "knn")):
        lines += ["", f"{probe}{', tuning split' if tune else ''}", f"| data | by | {' | '.join(map(str, BUDGETS))} |"]
        for data, by in dict.fromkeys((row["data"], row["by"]) for row in rows):
            runs = [row[probe] for row in rows if (row["data"], row["by"], row["tune"]) == (data, by, tune)]
            if runs:
                cells = [list(column) for column in zip(*runs, strict=True)]
                shown = [str(mean_over_runs(cell)) if len(cell) > 1 else f"{cell[0]:.1f}" for cell in cells]
                lines.append(f"| {data} | {by} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=FILES")
    parser.add_argument("--by", nargs="+", default=[*RIVALS, *METHODS], choices=[*RIVALS, *METHODS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tune", action="store_true")
    given = parser.parse_args(arguments)
    rows = [json.loads(line) for line in given.ledger.read_text().splitlines()] if given.ledger.exists() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for name, _, files in (entry.partition("=") for entry in given.data):
        for key in ((name, seed, by, given.tune) for seed in given.seeds for by in given.by):
            if key not in done:
                row = {
                    **dict(zip(KEY, key, strict=True)),
                    **trial(key[2], *parts(files, key[1], tune=given.tune), key[1]),
                }
                with given.ledger.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                rows.append(row)
                print(row, flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
