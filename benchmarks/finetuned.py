"""Classifiers on frozen vectors beside ones that train the encoder, too: accuracy on the same test images.

    python -m benchmarks.finetuned ENCODER --data flowers/ --per-class 10 0 --seeds 0 1 2

Images and labels are drawn as by benchmarks.classify: a fifth of each class (seed 0) is for testing and chooses nothing; 0 labels per class: all of
the others, once. Prints a row of a table for each number and kind: the mean over the seeds with Student's 95 % interval, for one seed Wilson's.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path

import numpy as np

import byol
from byol.data.open import open_source
from byol.data.source import ImageSource
from byol.data.subset import held_out, per_class
from byol.evaluate.scores import Score, mean_over_runs, wilson


def accuracy_of(encoder: str, data: str, source: ImageSource, rows: np.ndarray, test: np.ndarray, tune: bool) -> Score:
    """Accuracy on the `test` images of a classifier that knows the labels of `rows`."""
    assert source.labels is not None and source.class_names is not None
    truth = {source.name(index): source.class_names[source.labels[index]] for index in range(len(source))}
    with tempfile.TemporaryDirectory() as folder:
        labels, table = Path(folder) / "labels.csv", Path(folder) / "predictions.csv"
        with labels.open("w", newline="") as stream:
            names = [source.name(index) for index in rows.tolist()]
            csv.writer(stream).writerows([("file", "label"), *((name, truth[name]) for name in names)])
        fitted = byol.fit_classifier(encoder, data, Path(folder) / "sorter", labels=labels, finetune=tune)
        byol.classify(fitted.path, data, table, threshold=0)
        with table.open(newline="") as stream:
            found = {row["file"]: row["class"] for row in csv.DictReader(stream)}
    right = [found[source.name(index)] == truth[source.name(index)] for index in test.tolist()]
    return wilson(float(np.mean(right)), len(right))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("--data", required=True)
    parser.add_argument("--per-class", type=int, nargs="+", default=[10, 0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    source = open_source(chosen.data, labelled=True)
    assert source.labels is not None
    pool, test = held_out(source.labels, 0.2, seed=0)
    for count in chosen.per_class:
        for tune in (False, True):
            began, runs = time.perf_counter(), []
            for seed in chosen.seeds if count else chosen.seeds[:1]:
                rows = pool[per_class(source.labels[pool], count or len(pool), seed)]
                runs.append(accuracy_of(chosen.encoder, chosen.data, source, rows, test, tune))
            score = runs[0] if len(runs) == 1 else mean_over_runs([run.value for run in runs])
            seconds = (time.perf_counter() - began) / len(runs)
            print(f"| {count or 'all'} | {'finetuned' if tune else 'frozen'} | {score} | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
