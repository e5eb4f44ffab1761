"""Options of the commands that use an encoder: `byol evaluate`, `byol transfer`, `byol embed`."""

import sys
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from byol.cli.options import DataPlace, Device, Place
from byol.errors import ByolError
from byol.evaluate.protocols.options import (
    PROTOCOLS,
    TRAINS_ENCODER,
    WITHOUT_WEIGHTS,
    Budget,
    ProtocolOptions,
)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate an encoder on labelled images, by any of the papers' protocols."""

    run: tyro.conf.Positional[str]
    """A run directory, an encoder folder, timm:MODEL (new weights), timm:MODEL:pretrained, pixels, or hog (gradients and colours, nothing learned)."""
    data: str
    """Labelled images, as for pretrain. Without a test part of its own, a fifth of each class is held out."""
    test_data: str = ""
    """Labelled test images, where they are not part of --data."""
    network: Literal["online", "target"] = "online"
    """Whose encoder; target needs a run directory."""
    seed: int = 0
    """Decides splits, order and views."""
    out: str = ""
    """Where results go, in a folder `evaluation`. Default: the run; runs/NAME/DATA where the encoder is no folder."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"
    protocol: tuple[str, ...] = ("knn", "linear-fast")
    """knn, linear, linear-fast, semi, finetune, supervised, retrieval, cluster; or all."""
    budget: Budget = "default"
    """paper: the papers' grids; default: fewer settings, 10 epochs, 10,000 training images; smoke: seconds."""
    workers: int = -1
    """Processes that decode training images; -1: one per core but one, at most 8."""
    options: Annotated[ProtocolOptions, tyro.conf.arg(name="")] = field(default_factory=ProtocolOptions)


@dataclass(frozen=True)
class Embed:
    """Write the vector of every image to a file."""

    run: tyro.conf.Positional[str]
    """A run directory, or any folder with encoder.safetensors and encoder.json."""
    data: str
    """Images, as for pretrain; labels are not needed."""
    out: str
    """The file to write, .parquet or .npz: name, label and label_name (if any), vector."""
    split: Literal["train", "test"] = "train"
    """Which part, where the data has both."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_evaluate(options: Evaluate) -> int:
    """Prints a table line per protocol as it ends."""
    from byol.cli.console import Console
    from byol.commands.evaluate import Result, evaluate

    results: list[Result] = []

    def done(result: Result) -> None:
        results.append(result)
        console.say(f"{result.protocol} done in {result.record['seconds']:.0f} s")

    failed = False
    with Console() as console:
        try:
            evaluate(
                options.run,
                options.place.spec(options.data),
                _protocols(options),
                test_data=options.test_data,
                budget=options.budget,
                network=options.network,
                options=options.options,
                seed=options.seed,
                out=options.out,
                device=options.device,
                workers=options.workers,
                say=console.say,
                show=console.work,
                done=done,
            )
        except ByolError:
            if not results:
                raise
            failed = True  # and was told
    first = results[0].record
    print(
        f"{first['encoder']} ({first['network']}), {first['test']['num_images']:,} test images of {first['test']['images']}"
    )
    rows = [
        [
            f"{result.protocol} {result.record['variant']}".strip(),
            metric,
            str(score),
            _chosen(result.record["settings"]),
        ]
        for result in results
        for metric, score in result.metrics.items()
    ]
    console.table(["protocol", "metric", "%, 95 % interval", "settings"], rows)
    for result in results:
        for line in filter(None, (result.record["differs"], result.record["caution"])):
            print(f"  {result.protocol}: {line}")
    if broken := max(result.record["skipped_images"] for result in results):
        print(f"  {broken} image{'s' if broken > 1 else ''} of both parts could not be decoded and did not count")
    print("  written to " + ", ".join(str(result.path) for result in results))
    return int(failed)


def _protocols(options: Evaluate) -> tuple[str, ...]:
    """Names of the protocols to run; for `all` of a baseline without weights, those that train no encoder."""
    if options.protocol != ("all",):
        return options.protocol
    if options.run not in WITHOUT_WEIGHTS:
        return tuple(PROTOCOLS)
    print(f"{options.run} has no weights to train, so without {', '.join(TRAINS_ENCODER)}")
    return tuple(name for name in PROTOCOLS if name not in TRAINS_ENCODER)


def _chosen(settings: dict[str, object]) -> str:
    """The settings that are one value each, in a few words."""
    short = {n: v for n, v in settings.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return ", ".join(f"{name} {value:.4g}" for name, value in list(short.items())[:3])


def run_embed(options: Embed) -> int:
    """Writes the file, and says what was left out."""
    from byol.cli.console import Console
    from byol.commands.embed import embed

    with Console() as console:
        count, skipped = embed(
            options.run,
            options.place.spec(options.data),
            options.out,
            split=options.split,
            device=options.device,
            say=console.say,
            show=console.work,
        )
    print(f"{count} vectors written to {options.out}")
    for name, reason in skipped:
        print(f"  skipped {name}: {reason}", file=sys.stderr)
    return 0


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
    from byol.cli.console import Console
    from byol.commands.transfer import table, transfer

    with Console() as console:
        rows = transfer(
            options.run,
            options.sets,
            options.protocol,
            budget=options.budget,
            place=options.place.spec(""),
            seed=options.seed,
            out=options.out,
            device=options.device,
            workers=options.workers,
            listener=console.listener,
        )
    console.table(*table(rows))
    for line in sorted({row.record["differs"] for row in rows if row.record and row.record["differs"]}):
        print(f"  {line}")
    for row in rows:
        if row.record and row.record.get("caution"):  # earlier versions recorded none
            print(f"  {row.name}: {row.record['caution']}")
    return 1 if any(row.failure for row in rows) else 0
