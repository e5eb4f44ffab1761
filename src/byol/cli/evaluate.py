"""The commands that use an encoder: `byol evaluate`, `byol transfer` and `byol embed`."""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from byol.cli.options import Commands, DataPlace, Device, EncoderName, Place
from byol.errors import ByolError, ConfigError
from byol.evaluate.protocols.options import (
    PROTOCOLS,
    TRAINS_ENCODER,
    WITHOUT_WEIGHTS,
    Budget,
    ProtocolOptions,
)

if TYPE_CHECKING:
    from byol.commands.evaluate import Result


@dataclass(frozen=True)
class Evaluate:
    """Evaluate an encoder on labelled images with the papers' protocols."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, timm:MODEL (random weights), timm:MODEL:pretrained, or a baseline without weights: pixels, hog (gradients and colours) or statistics (of each band)."""
    data: str
    """Labelled images, in any form that pretrain takes; for segment a folder with images and masks, for depth one with images and depths. If they have no test part, a fifth of each class is held out for testing."""
    test_data: str = ""
    """Labelled test images, if they are not part of --data."""
    network: Literal["online", "target"] = "online"
    """Network whose encoder is evaluated. target needs a run directory."""
    seed: int = 0
    """Random seed of splits, order and views."""
    out: str = ""
    """Folder in which the folder `evaluation` with the results is made. Default: the run; runs/NAME/DATA if the encoder is not a folder."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"
    protocol: tuple[str, ...] = ("knn", "linear-fast")
    """Protocols: knn, linear, linear-fast, few-labels, semi, finetune, supervised, retrieval, cluster; or all of these. For images with masks: segment, segment-knn, segment-finetune; with depths: depth."""
    budget: Budget = "default"
    """Amount of work. paper: the papers' full grids; default: fewer settings, 10 epochs, 10,000 training images; smoke: a check that takes seconds."""
    workers: int = -1
    """Number of processes that decode training images. -1: one per core minus one, at most 8."""
    options: Annotated[ProtocolOptions, tyro.conf.arg(name="")] = field(default_factory=ProtocolOptions)


@dataclass(frozen=True)
class Embed:
    """Write the feature vector of every image to a file, or its feature map to a folder."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, timm:MODEL, timm:MODEL:pretrained, pixels, hog or statistics."""
    data: str
    """Images, in any form that pretrain takes; labels are not needed."""
    out: str
    """File to write, .parquet or .npz. Columns: name, label and label_name (if there are labels), vector. With --maps a new folder."""
    split: Literal["train", "test"] = "train"
    """Part of the data, if it has both."""
    maps: bool = False
    """Write the feature map of every image, before pooling, in place of its vector."""
    stage: int = 0
    """Stage of the maps: 1 is the first, -1 the last. 0: the last one with a stride of at most 16 px."""
    size: int = 0
    """Short side in px to which images are resized for maps. 0: as in the training."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_evaluate(options: Evaluate) -> int:
    """Evaluates, then prints a table. Returns the exit code: 1 if a protocol failed."""
    from byol.cli.console import Console
    from byol.commands.evaluate import Result, evaluate

    results: list[Result] = []

    def done(result: Result) -> None:
        results.append(result)
        console.say(f"{result.protocol} finished in {result.record['seconds']:.0f} s")

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
            failed = True  # the message is already printed
    first = results[0].record
    print(
        f"{first['encoder']} ({first['network']}), {first['test']['num_images']:,} test images of {first['test']['images']}"
    )
    console.table(["protocol", "metric", "%, 95 % interval", "settings"], _rows(results))
    if any("hog" in result.record for result in results):
        print("  by hog: gradients and colours with nothing learned, on the same images")
        if any(_is_below_hog(result) for result in results):
            print("  the encoder is below hog, which learned nothing: train longer")
    for result in results:
        for line in filter(None, (result.record["differs"], result.record["caution"])):
            print(f"  {result.protocol}: {line}")
    if broken := max(result.record["skipped_images"] for result in results):
        print(f"  left out of training and test: {broken} image{'s' if broken > 1 else ''} that could not be decoded")
    print("  written to " + ", ".join(str(result.path) for result in results))
    return int(failed)


def _is_below_hog(result: "Result") -> bool:
    """Whether any accuracy is below that of `hog` on the same images."""
    by_hog = result.record.get("hog", {})
    return any(score.value < by_hog[metric]["value"] for metric, score in result.metrics.items() if metric in by_hog)


def _rows(results: "list[Result]") -> list[list[str]]:
    """Rows of the table of results, those by `hog` last."""
    from byol.evaluate.scores import Score

    rows = [
        [
            f"{result.protocol} {result.record['variant']}".strip(),
            metric,
            str(score),
            _in_short(result.record["settings"]),
        ]
        for result in results
        for metric, score in result.metrics.items()
    ]
    return rows + [
        [f"{result.protocol} by hog", metric, str(Score(**score)), ""]
        for result in results
        for metric, score in result.record.get("hog", {}).items()
    ]


def _protocols(options: Evaluate) -> tuple[str, ...]:
    """Names of the protocols to run. For a baseline without weights, `all` leaves out protocols that train the encoder."""
    if options.protocol != ("all",):
        return options.protocol
    if options.run not in WITHOUT_WEIGHTS:
        return tuple(PROTOCOLS)
    print(f"{options.run} has no weights to train; left out: {', '.join(TRAINS_ENCODER)}")
    return tuple(name for name in PROTOCOLS if name not in TRAINS_ENCODER)


def _in_short(settings: dict[str, object]) -> str:
    """The first three settings that are numbers, as text."""
    short = {n: v for n, v in settings.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return ", ".join(f"{name} {value:.4g}" for name, value in list(short.items())[:3])


def run_embed(options: Embed) -> int:
    """Writes the file or folder and names the images that were skipped."""
    from byol.cli.console import Console
    from byol.commands.embed import embed
    from byol.commands.maps import embed_maps

    with Console() as console:
        shared = {"split": options.split, "device": options.device, "say": console.say, "show": console.work}
        about = options.run, options.place.spec(options.data), options.out
        if options.maps:
            count, skipped = embed_maps(*about, stage=options.stage, size=options.size, **shared)
        elif options.stage or options.size:
            raise ConfigError("--stage and --size are those of maps; add --maps.")
        else:
            found = embed(*about, **shared)
            count, skipped = len(found.vectors), found.skipped
    print(f"{count} {'maps' if options.maps else 'vectors'} written to {options.out}")
    for name, reason in skipped:
        print(f"  skipped {name}: {reason}", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class Transfer:
    """Evaluate an encoder on many labelled data sets and compare with the paper's numbers."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, timm:MODEL (random weights), timm:MODEL:pretrained, or a baseline without weights: pixels, hog (gradients and colours) or statistics (of each band)."""
    sets: tuple[str, ...] = ()
    """Data sets: food101, cifar10, cifar100, cars, aircraft, voc2007, dtd, pets, caltech101, flowers; others as NAME=PATH.
    Default: all ten; voc2007 only with the protocol linear-fast."""
    protocol: Literal["linear-fast", "finetune", "supervised"] = "linear-fast"
    """linear-fast: linear classifier on frozen features, as in the paper; finetune: train all weights; supervised: train all weights from random ones."""
    budget: Budget = "default"
    """Amount of work. paper: the papers' full grids; default: 3 learning rates, 10 epochs, 10,000 training images; smoke: a check that takes seconds."""
    out: str = ""
    """Folder for the results, one file per data set. Results that are already there are kept. Default: transfer/PROTOCOL-BUDGET in the run."""
    place: Place = field(default_factory=DataPlace)
    seed: int = 0
    """Random seed of validation images, order, views and initial weights."""
    device: Device = "auto"
    workers: int = -1
    """Number of processes that decode training images. -1: one per core minus one, at most 8."""


def run_transfer(options: Transfer) -> int:
    """Evaluates, then prints a table. Returns the exit code: 1 if a data set failed."""
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


COMMANDS: Commands = {
    "evaluate": (Evaluate, run_evaluate),
    "transfer": (Transfer, run_transfer),
    "embed": (Embed, run_embed),
}
