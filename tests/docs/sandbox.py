"""A small place where the pages' commands run: tiny data under the names of the pages, tiny settings for each command.

All that makes a documented command small, or keeps it from running, is in the tables of this file.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import byol
from byol.nets.encoder import create_encoder
from tests.conftest import SMALL
from tests.parity.haiku import GOLDEN
from tests.unit.masked import write_deep, write_masked

TINY = {**SMALL, "epochs": 1, "encoder.name": "resnet10", "encoder.width": 1.0, "encoder.stem": "imagenet"}
"""The settings of every training here; an encoder that timm and torchvision have, too."""

SHORTENED: dict[str, list[str]] = {
    "pretrain": [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()],
    "doctor": [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()],
    "adapt": [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if not name.startswith("encoder.")],
    "evaluate": ["--budget", "smoke"],
    "transfer": ["--budget", "smoke"],
    "report": ["--images", "20"],
    "select": ["--count", "3"],
}
"""Options that are added to a command; the last of two counts."""

REPLACED = {
    "dtd pets flowers own=": "own=",
    "--data imagenet ": "--data labelled ",
    "--data voc2012-segmentation": "--data masked",
    "timm:resnet18 --weights": "timm:resnet10 --weights",
    "--labelled labelled/ --count": "--count",
}
"""Data sets whose images would have to be downloaded, a smaller network, and labels of all the pictures, which would leave none to choose."""

NOT_RUN = {
    "byol study": "trains an hour or more; tests/unit/studies/test_run_study.py runs one",
    "byol import-timm tf_efficientnet_lite0": "needs a package of weights; the same command for another file is run",
    "byol demo": "trains on the bundled images; tests/integration/test_demo.py runs it",
    "byol explore timm:": "needs a network, and serves as the one below",
    "byol explore": "serves until Ctrl-C; tests/unit/explore/test_server.py asks the server, tests/browser the page",
    "byol pretrain --data photos/ --minutes": "takes the minutes it is given; tests/integration/test_minutes.py runs the command",
    "byol pretrain --data imagenet --recipe imagenet-300": "needs ImageNet; torchrun's command is the same training",
    "byol evaluate timm:": "needs a network; tests/unit/commands/test_evaluate.py evaluates other encoders",
    "byol adapt timm:resnet18 --data": "needs a network; a start from a file is run",
    "byol pretrain --data cifar10/train.parquet --recipe tonight": "takes the minutes it is given, as the one above",
    "byol pretrain --data cifar10 --download": "needs a network; with a file of the same images it is the one above",
    "torchrun --nnodes 4": "needs 32 GPUs and ImageNet, as the one below",
    "torchrun --nproc-per-node 8": "needs 8 GPUs and ImageNet; tests/integration/test_ranks.py starts torchrun",
    "srun torchrun": "needs SLURM",
    "byol adapt deepmind --data photos": "needs DeepMind's file; the one here is of another width",
}
"""Beginnings of commands that are parsed but not run, and why."""


def prepare(folder: Path, photos: Path) -> None:
    """Puts everything that pages name into `folder`, where `photos` lies already."""
    for name in ("photos", "other"):
        byol.pretrain(str(photos), out=folder / "runs" / name, overrides=TINY, say=lambda _: None)
    shutil.copytree(photos, folder / "labelled")
    write_masked(folder / "masked", 12)
    write_deep(folder / "deep", 12)
    os.symlink(folder / "runs" / "photos", folder / "RUN")
    shutil.copytree(folder / "runs" / "photos", folder / "run")
    shutil.copy(GOLDEN / "synthetic_checkpoint_plain.pkl", folder / "pretrain_res50x1.pkl")
    torch.save(create_encoder("resnet10", stem="imagenet").state_dict(), folder / "resnet18.pth")
    files = sorted(photos.rglob("*.jpg"))
    lines = [f"{file.parent.name}/{file.name},{file.parent.name}" for file in files]
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    explored = folder / "runs" / "photos" / "explore" / "labels.csv"
    explored.parent.mkdir()
    explored.write_text("\n".join(["file,label", *lines]) + "\n")  # as byol explore writes it
    (folder / "cifar10").mkdir()
    rows = {"image": [file.read_bytes() for file in files], "label": [int(f.parent.name == "dog") for f in files]}
    for part in ("train", "test"):
        pq.write_table(pa.table(rows), folder / "cifar10" / f"{part}.parquet")


def shortened(words: list[str]) -> list[str]:
    """A command's words with tiny settings. Whatever run lies where it writes is removed."""
    words = words + SHORTENED.get(words[0], [])
    if words[0] in ("pretrain", "adapt"):
        if "--resume" in words:
            return words[: len(words) - len(SHORTENED[words[0]])]
        if "--out" in words:
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    return words


def run_python(block: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs a Python block where every training is tiny; the names it leaves."""
    import byol.commands.estimator
    import byol.commands.pretrain

    real = byol.commands.pretrain.pretrain

    def tiny(data: Any, recipe: str = "small", **given: Any) -> byol.Run:
        shutil.rmtree(given.get("out") or "runs/none", ignore_errors=True)
        given.pop("minutes", None)
        given["overrides"] = {**(given.get("overrides") or {}), **TINY}
        return real(data, recipe, **given)

    monkeypatch.setattr(byol.commands.pretrain, "pretrain", tiny)
    monkeypatch.setattr(byol.commands.estimator, "pretrain", tiny)
    names: dict[str, Any] = {"images": torch.zeros(2, 3, 40, 40, dtype=torch.uint8)}
    exec(compile(block, "page", "exec"), names)
    return names
