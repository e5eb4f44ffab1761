"""What comes of the same wall time: an encoder by `byol pretrain --minutes`, and by lightly's documented BYOL.

    python -m benchmarks.tonight --data cifar10/ --minutes 60 --out tonight.json
    python -m benchmarks.tonight --data cifar10/ --minutes 60 --out tonight.json --rows lightly lightly-tuned

lightly twice: as documented (torchvision's ResNet-18 with its 7x7 stem, heads of 1024, float32), and with a 3x3 stem, our
autocast and channels_last. Then our BYOL (the recipe `small`) with that encoder, these heads and that number of epochs,
so that method and speed can be told apart. All are scored alike: kNN and linear on the features of all images, the labels
of `train` for the probes alone, the images of `test` once. Rows that stand in the file already are not repeated.
`make bench-peers` makes the interpreter that has lightly.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import byol
from benchmarks.images import write_folder
from benchmarks.peers import DOCUMENTED, PYTHON
from benchmarks.record import arguments, in_child, publish, record
from benchmarks.trainings import MEAN, STD, Training, backbone
from byol.data.open import open_source
from byol.evaluate.probes import probe_correct
from byol.runtime.hardware import choose_precision, computes_in_bf16

ROWS = {
    "ours": "byol pretrain --recipe tonight --minutes",
    "lightly": "lightly as documented",
    "lightly-tuned": "lightly, 3x3 stem, our autocast, channels_last",
    "equal": "byol, ResNet-18 for as many epochs as the row above",
}


def score(encode: Callable[[Tensor], Tensor], chosen: argparse.Namespace) -> dict[str, float]:
    """Accuracies in percent on the test images."""
    train, test = (open_source(chosen.data, split, labelled=True) for split in ("train", "test"))
    found = probe_correct(encode, train, test, 3, torch.device("cpu"))
    return {probe: round(100 * float(right.mean()), 2) for probe, right in found.items()}


def ours(chosen: argparse.Namespace, *options: str) -> dict[str, Any]:
    """The command itself, from its start to its end; then scored."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        run = Path(chosen.run or Path(place) / "run")
        command = ["pretrain", "--data", chosen.data, "--seed", str(chosen.seed), "--out", str(run), *options]
        subprocess.run([sys.executable, "-m", "byol", *command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        result = json.loads((run / "result.json").read_text())
        config = json.loads((run / "run.json").read_text())["config"]
        epochs = result["step"] * config["batch_size"] / len(open_source(chosen.data))
        return {"epochs": round(epochs, 2), "seconds": round(seconds), **score(byol.load(run), chosen)}


def lightly(chosen: argparse.Namespace, **row: Any) -> dict[str, Any]:
    """Trained in its own interpreter for the time; its images are files, as it takes them."""
    images = open_source(chosen.data)
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place), chosen.data, len(images), chosen.size, suffix=".png")
        weights = Path(place) / "encoder.pt"
        work = {"name": "lightly", "data": str(folder), "size": chosen.size, "seed": chosen.seed, **row}
        work |= {"seconds": 60 * chosen.minutes, "save": str(weights)}
        began = time.perf_counter()
        done = in_child("benchmarks.trainings", work, chosen.python)
        seconds = time.perf_counter() - began
        network, _ = backbone(Training(**work))
        network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def encode(batch: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bf16(torch.device("cpu"))):
            return network((batch.float() / 255 - mean) / std)

    epochs = done["num_steps"] * Training(**work).batch / len(images)
    return {"epochs": round(epochs, 2), "seconds": round(seconds), **score(encode, chosen)}


def measured(row: str, chosen: argparse.Namespace, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One row, by its name; `found` holds those before it."""
    if row == "ours":
        return ours(chosen, "--recipe", "tonight", "--minutes", str(chosen.minutes))
    if row == "lightly":
        return lightly(chosen, precision="fp32", **DOCUMENTED)
    if row == "lightly-tuned":
        precision = choose_precision("auto", torch.device("cpu"))
        return lightly(chosen, stem="small", hidden=1024, precision=precision, channels_last=True)
    if ROWS["lightly-tuned"] not in found:
        raise SystemExit("The row `equal` needs the epochs of `lightly-tuned`: measure that first.")
    same = ["--encoder.name", "resnet18", "--encoder.stem", "small", "--batch-size", "256"]
    return ours(chosen, *same, "--epochs", str(found[ROWS["lightly-tuned"]]["epochs"]))


def earlier(chosen: argparse.Namespace, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows in the file, where it is of the same settings and seed."""
    if not chosen.out or not Path(chosen.out).exists():
        return {}
    old = json.loads(Path(chosen.out).read_text())
    if (old["settings"], old["seed"]) != (settings, chosen.seed):
        raise SystemExit(
            f"{chosen.out} is of other settings: {old['settings']}, seed {old['seed']}. Name another file."
        )
    own = ("name", "median", "min", "max", "n", "values")
    return {row["name"]: {key: value for key, value in row.items() if key not in own} for row in old["rows"]}


def main(chosen: argparse.Namespace) -> None:
    """The rows one after the other; each is written when it is there."""
    settings = {"minutes": chosen.minutes, "data": Path(chosen.data).name, "size": chosen.size}
    found = earlier(chosen, settings)
    for row in chosen.rows:
        if ROWS[row] in found:
            continue
        found[ROWS[row]] = measured(row, chosen, found)
        what = f"Linear accuracy after {chosen.minutes:g} minutes on {settings['data']}"
        values = {name: [details["linear"]] for name, details in found.items()}
        unit = "% of the test images"
        publish(
            record(
                "tonight", what, unit, values,
                higher_is_better=True, settings=settings, details=found, seed=chosen.seed,
            ),
            chosen.out,
        )  # fmt: skip


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--data", required=True, help="a folder with train and test, as for byol evaluate")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=32, help="side of lightly's views")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--run", help="the folder of our run, to be kept; removed without it (one of our rows at a time)"
    )
    parser.add_argument("--python", default=str(PYTHON), help="an interpreter that has lightly")
    chosen = parser.parse_args()
    if not Path(chosen.python).exists():
        parser.error(f"{chosen.python} does not exist; make bench-peers makes it")
    main(chosen)
