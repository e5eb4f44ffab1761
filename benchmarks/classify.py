"""Classifiers fitted to few labels: accuracy, calibration error before and after, and wrong names beside the stated ones.

    byol embed ENCODER --data flowers/ --out flowers.npz
    python -m benchmarks.classify flowers=flowers.npz --per-class 2 5 10 0 --seeds 0 1 2

A fifth of each class (seed 0) is for testing and chooses nothing; the labelled images are drawn from the others by the seed. 0: all
of them, once. Prints a row of a table for each set and number: means over the seeds with Student's 95 % interval, for one
seed Wilson's.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from byol.data.subset import held_out, per_class
from byol.evaluate.certainty import choose_threshold
from byol.evaluate.head import fit_head
from byol.evaluate.metrics import calibration_error
from byol.evaluate.scores import Score, mean_over_runs, wilson

COLUMNS = ("accuracy", "calibration error before", "after", "named", "wrong among the named", "in cross-validation")


@dataclass(frozen=True)
class Measured:
    """Percentages on the test images, and the wrong names of cross-validation."""

    accuracy: Score
    before: float
    after: float
    named: float
    wrong: Score | None
    stated: Score | None


def measure(
    vectors: Tensor, labels: Tensor, rows: np.ndarray, test: np.ndarray, seed: int, most_wrong: float
) -> Measured:
    """A classifier fitted to `rows` and asked about `test`."""
    head = fit_head(vectors[rows], labels[rows], int(labels.max()) + 1, seed=seed)
    certainty = choose_threshold(head.held_out, most_wrong)
    logits = vectors[test] @ head.weight.T + head.bias
    right = logits.argmax(dim=1) == labels[test]
    after, before = ((logits * scale).softmax(dim=1).max(dim=1).values for scale in (1.0, head.held_out.temperature))
    named = after > certainty.threshold
    return Measured(
        wilson(float(right.float().mean()), len(right)),
        calibration_error(before, right),
        calibration_error(after, right),
        100 * float(named.float().mean()),
        wilson(float((~right[named]).float().mean()), int(named.sum())) if named.any() else None,
        certainty.wrong,
    )


def row(runs: Sequence[Measured]) -> list[str]:
    """Cells of the runs of all seeds. Runs that name nothing count in no error."""

    def over(values: list[float]) -> str:
        return "-" if not values else f"{values[0]:.1f}" if len(values) == 1 else str(mean_over_runs(values))

    if len(runs) == 1:
        one = runs[0]
        cells = (one.accuracy, f"{one.before:.1f}", f"{one.after:.1f}", f"{one.named:.1f}", one.wrong, one.stated)
        return [str(cell) for cell in cells]
    return [
        over([each.accuracy.value for each in runs]),
        over([each.before for each in runs]),
        over([each.after for each in runs]),
        over([each.named for each in runs]),
        over([each.wrong.value for each in runs if each.wrong]),
        over([each.stated.value for each in runs if each.stated]),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", nargs="+", metavar="NAME=FILE.npz")
    parser.add_argument("--per-class", type=int, nargs="+", default=[2, 5, 10, 0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--most-wrong", type=float, default=5.0)
    chosen = parser.parse_args(arguments)
    print(f"| images | labels per class | {' | '.join(COLUMNS)} |", flush=True)
    for entry in chosen.vectors:
        name, _, file = entry.partition("=")
        with np.load(file) as content:
            vectors, labels = torch.from_numpy(content["vector"]), torch.from_numpy(content["label"])
        pool, test = held_out(labels.numpy(), 0.2, seed=0)
        for count in chosen.per_class:
            runs = []
            for seed in chosen.seeds if count else chosen.seeds[:1]:
                rows = pool[per_class(labels[pool].numpy(), count or len(pool), seed)]
                runs.append(measure(vectors, labels, rows, test, seed, chosen.most_wrong))
            print(f"| {name} | {count or 'all'} | {' | '.join(row(runs))} |", flush=True)


if __name__ == "__main__":
    main()
