"""Trials for the `sample` recipe, judged on a split of the training images; the test images are never read.

    python tools/search_sample.py OUT.jsonl NAME=SETTING=VALUE,SETTING=VALUE ...

Each trial pretrains on 10,000 of the 12,000 training images with the recipe's settings but the named ones, then
scores kNN, linear and 10 labels per class on the other 2,000. One line of JSON per trial.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

import byol
from byol.data.sample import open_sample
from byol.data.subset import Subset, held_out
from byol.evaluate.probes import probe_correct


def trial(name: str, overrides: dict) -> dict:
    """Trains and scores one set of settings."""
    images = open_sample("train")
    kept, out = held_out(images.labels, 1 / 6, seed=0)
    train, validation = Subset(images, kept, "train part"), Subset(images, out, "validation part")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = byol.pretrain(train, "sample", out=Path(folder) / "run", overrides=overrides, say=lambda line: None)
        seconds = time.monotonic() - began
        found = probe_correct(run.encoder(), train, validation, 1, torch.device("cpu"))
    accuracies = {k: round(100 * float(v.float().mean()), 2) for k, v in found.items()}
    return {
        "name": name,
        "overrides": overrides,
        "seconds": round(seconds),
        "validation": accuracies,
        "verdict": run.verdict,
    }


def main(out: str, *trials: str) -> None:
    for text in trials:
        name, _, settings = text.partition("=")
        pairs = [pair.split("=") for pair in settings.split(",") if pair]
        overrides = {
            key: json.loads(value.replace(";", ",")) if value[0] in "[0123456789" else value for key, value in pairs
        }
        with open(out, "a") as ledger:
            ledger.write(json.dumps(trial(name, overrides)) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
