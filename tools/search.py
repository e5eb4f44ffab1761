"""Trials of settings at equal wall time, judged on a split of the training images.

    python tools/search.py LEDGER.jsonl --data cifar10/train --recipe sample --minutes 6 \\
        plain "wide: encoder.width=1" "wide, other views: encoder.width=1 views.view1.blur_probability=0"
    python tools/search.py LEDGER.jsonl --data cifar10/train --recipe sample --minutes 4 @tools/trials/cifar10_4_minutes.txt

Each trial is a name and settings of the recipe; a file holds one a line. It pretrains on nine tenths of the training
images for the given time, or with `--epochs` for so many passes in whatever time (where other work runs beside it). It
scores kNN, linear (both from at most 20,000 labels) and 10 labels per class on the other tenth (`--held-out`), with the
online and with the target encoder. A trial named `pixels`, `hog`, or as the folder of an encoder is scored as it is, and
`--untrained` adds the untrained encoder to every other. `--keep FOLDER` keeps the runs as FOLDER/NAME-SEED, so that
another trial can begin with one (`encoder.init`). `--test-data` scores on those images in place of the part held out, for
what is reported in the end: choices are made without it, so that they never see the test images. `--jobs` trials run at a time, with a thread each by default, so
that a machine that is slow for a while is so for all of them. One line of JSON per trial is appended to the ledger; a
trial that stands there already is not repeated.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tools.pool import run_trials
from torch import Tensor

import byol
from byol.assembly.networks import method_parts
from byol.assembly.subject import open_subject
from byol.config import Config, from_dict
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.data.subset import Subset, held_out, share_of_each
from byol.encoder.encoder import Encoder
from byol.evaluate.probes import probe_correct
from byol.evaluate.protocols.options import WITHOUT_WEIGHTS
from byol.methods.network import Branch
from byol.runtime.run_directory import RunDirectory

PROBED_IMAGES = 20_000
"""Of the training images, whose labels the probes see."""
CONDITIONS = {"recipe": "", "minutes": 0.0, "epochs": 0.0, "images": 0, "test": False, "held_out": 0.1}
"""What trials of one comparison share, and what stands for it where an old row does not tell."""


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """`name: setting=value setting=value` -> (name, settings); values are JSON, or else words."""
    name, _, settings = text.partition(":")
    pairs = (pair.partition("=") for pair in settings.split())
    return name.strip(), {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def trial(name: str, settings: dict[str, Any], chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains and scores one set of settings, or scores what needs no training."""
    torch.set_num_threads(chosen.threads)
    images = open_source(chosen.data, labelled=True)
    assert images.labels is not None
    kept, out = held_out(images.labels, chosen.held_out, seed=0)
    if chosen.images:
        kept = kept[share_of_each(images.labels[kept], chosen.images / len(kept), seed=0)]
    train = Subset(images, kept, "train part")
    others = open_source(chosen.test_data, labelled=True) if chosen.test else Subset(images, out, "validation part")
    labels = images.labels[kept]
    few = share_of_each(labels, min(1, PROBED_IMAGES / len(kept)), seed=0)
    bank = Subset(train, few, "probed part")
    channels = profile(train, SkippedImages()).channels

    def score(encode: Callable[[Tensor], Tensor]) -> dict[str, float]:
        found = probe_correct(encode, bank, others, channels, torch.device("cpu"))
        return {probe: round(100 * float(right.mean()), 2) for probe, right in found.items()}

    row = {"name": name, "settings": settings, "seed": seed, "num_images": len(train), "threads": chosen.threads}
    row |= {field: getattr(chosen, field) for field in CONDITIONS}
    if name in WITHOUT_WEIGHTS or Path(name).is_dir():
        done = {"steps": 0, "passes": 0.0, "images_per_second": 0.0}
        return row | done | {"validation": {"online": score(open_subject(name, train).encoder)}}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = byol.pretrain(
            train,
            chosen.recipe,
            out=Path(chosen.keep or folder) / f"{name}-{seed}",
            overrides=settings,
            seed=seed,
            **({"epochs": chosen.epochs} if chosen.epochs else {"minutes": chosen.minutes}),
            say=lambda line: None,
        )
        seconds = time.monotonic() - began
        record, result = (RunDirectory(run.path).record(), json.loads((run.path / "result.json").read_text()))
        has_target = method_parts(from_dict(Config, record["config"])).target in ("average", "fixed")
        networks: tuple[Branch, ...] = ("online", "target") if has_target else ("online",)
        scores = {n: score(open_subject(str(run.path), train, network=n).encoder) for n in networks}
        if chosen.untrained:
            subject = open_subject(str(run.path), train)
            scores["untrained"] = score(Encoder(subject.untrained(seed).eval(), subject.encoder.description))
    return row | {
        "seconds": round(seconds, 1),
        "steps": result["step"],
        "plan": (record["plan"] or {}).get("notes", []),
        "passes": round(result["step"] * record["config"]["batch_size"] / len(train), 2),
        "images_per_second": round(result["images_per_second"], 1),
        "validation": scores,
        "verdict": result["verdict"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The ledger in Markdown, best first; the target's linear accuracy beside the online encoder's."""
    lines = ["| trial | settings | seed | images/s | passes | kNN | linear | 10 labels per class | linear, target |"]
    lines += ["| --- | --- |" + " ---: |" * 7]
    for row in sorted(rows, key=lambda row: -row["validation"]["online"]["linear"]):
        online, target = row["validation"]["online"], row["validation"].get("target", {})
        settings = " ".join(f"{name}={json.dumps(value)}" for name, value in row["settings"].items())
        cells = [row["name"], f"`{settings}`" if settings else "", row["seed"], f"{row['images_per_second']:,.0f}"]
        cells += [f"{row['passes']:.1f}", *(f"{online[p]:.1f}" for p in ("knn", "linear", "few_labels"))]
        lines.append("| " + " | ".join(map(str, [*cells, target.get("linear", "")])) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("ledger", type=Path)
    parser.add_argument("trials", nargs="*", metavar="NAME[: SETTING=VALUE ...]", help="none: print the ledger")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--minutes", type=float, default=6.0, help="wall time of a trial, as for byol pretrain")
    parser.add_argument("--epochs", type=float, default=0.0, help="passes over the images, in place of --minutes")
    parser.add_argument("--held-out", type=float, default=0.1, help="fraction of every class that is scored")
    parser.add_argument("--images", type=int, default=0, help="train on so many of the images; 0: all")
    parser.add_argument("--untrained", action="store_true", help="score the encoder without training, too")
    parser.add_argument("--test-data", help="score on these in place of the part held out")
    parser.add_argument("--keep", help="a folder for the runs; without it they are removed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_intermixed_args(arguments)
    chosen.minutes, chosen.test = 0.0 if chosen.epochs else chosen.minutes, bool(chosen.test_data)
    lines = chosen.ledger.read_text().splitlines() if chosen.ledger.exists() else []
    done = [json.loads(line) for line in lines]
    if not chosen.trials:
        print(table(done))
        return
    same = {field: getattr(chosen, field) for field in CONDITIONS}
    comparable = [row for row in done if {field: row.get(field, CONDITIONS[field]) for field in CONDITIONS} == same]
    known = {(row["name"], row["seed"]) for row in comparable}
    trials = [(*parse(text), seed) for seed in chosen.seeds for text in chosen.trials]
    tasks = [(name, (name, settings, chosen, seed)) for name, settings, seed in trials if (name, seed) not in known]
    for row in run_trials(trial, tasks, chosen.ledger, chosen.jobs):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
