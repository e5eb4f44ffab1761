"""The command transfer. Like `cli`, it imports no torch before it runs."""

from dataclasses import dataclass, field
from typing import Literal

import tyro

from byol.cli_options import DataPlace, Device, Place
from byol.evaluate.options import Budget


@dataclass(frozen=True)
class Transfer:
    """Evaluate an encoder on many labelled data sets, beside the paper's numbers."""

    run: tyro.conf.Positional[str]
    """A run directory, an encoder folder, timm:MODEL (new weights), timm:MODEL:pretrained, pixels, or hog (gradients and colours, nothing learned)."""
    sets: tuple[str, ...] = ()
    """food101, cifar10, cifar100, cars, aircraft, voc2007, dtd, pets, caltech101, flowers; others as NAME=PATH.
    Default: all ten; without voc2007 where the protocol is not linear-fast."""
    protocol: Literal["linear-fast", "finetune", "supervised"] = "linear-fast"
    """linear-fast: the paper's linear one; finetune: all weights; supervised: all weights, from new ones."""
    budget: Budget = "default"
    """paper: the papers' grids; default: 3 rates, 10 epochs, 10,000 training images; smoke: seconds."""
    out: str = ""
    """Folder of the results, one file per set; finished ones are kept. Default: transfer/PROTOCOL-BUDGET in the run."""
    place: Place = field(default_factory=DataPlace)
    seed: int = 0
    """Decides validation images, order, views and first weights."""
    device: Device = "auto"
    workers: int = -1
    """Processes that decode training images; -1: one per core but one, at most 8."""


def run_transfer(options: Transfer) -> int:
    """`byol transfer`: exit code 1 where a set failed."""
    from byol.commands.transfer import table, transfer
    from byol.console import Console

    with Console() as console:
        rows = transfer(
            options.run,
            options.sets,
            options.protocol,
            budget=options.budget,
            root=options.place.data_root,
            download=options.place.download,
            seed=options.seed,
            out=options.out,
            device=options.device,
            workers=options.workers,
            say=console.say,
            show=console.do,
        )
    console.table(*table(rows))
    for line in sorted({row.record["differs"] for row in rows if row.record and row.record["differs"]}):
        print(f"  {line}")
    for row in rows:
        if row.record and row.record.get("caution"):  # earlier versions recorded none
            print(f"  {row.name}: {row.record['caution']}")
    return 1 if any(row.failure for row in rows) else 0
