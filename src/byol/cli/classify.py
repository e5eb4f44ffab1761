"""The command `byol classify`. Torch is imported only when it runs."""

import sys
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

import tyro

from byol.cli.options import USAGE_ERROR, Commands, DataPlace, Device, Place
from byol.runtime.words import command, counted

FIT = ("labels", "finetune", "most_wrong", "seed", "workers")
PREDICT = ("copy_to", "link_to", "threshold")
"""Options of one action alone."""


@dataclass(frozen=True)
class Classify:
    """Fit a classifier to labelled images and keep it (fit), or sort images by it (predict)."""

    action: tyro.conf.Positional[Literal["fit", "predict"]]
    """fit: write a classifier; predict: write the classes of images."""
    subject: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENCODER|CLASSIFIER")]
    """fit: an encoder (a run directory, an encoder folder, timm:MODEL:pretrained); predict: the folder that fit wrote."""
    data: str
    """Images, in any form that pretrain takes. fit: with labels, such as a folder for each class."""
    out: str
    """fit: folder to write; predict: CSV file to write. It must not exist yet."""
    labels: str = ""
    """fit: CSV file with the files and their classes, if they are not in folders; several labels of an image are separated by ;."""
    finetune: bool = False
    """fit: train the encoder, too. Takes minutes; without it seconds after reading the images."""
    most_wrong: float = 5.0
    """fit: largest expected percentage of wrong classes among those that are named; other images are called unsure."""
    copy_to: str = ""
    """predict: new folder in which the images are copied into a folder for each class. Originals stay as they are."""
    link_to: str = ""
    """predict: new folder for links to the images, in a folder for each class, in place of copies."""
    threshold: float | None = None
    """predict: probability above which a class is named, from 0 (always) to 1 (never). Default: the classifier's, from --most-wrong."""
    seed: int = 0
    """fit: random seed of the folds, and of a training."""
    workers: int = -1
    """fit: number of processes that decode images for --finetune. -1: one per core minus one, at most 8."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_classify(options: Classify) -> int:
    """Fits or predicts, and prints what came out."""
    of_other = PREDICT if options.action == "fit" else FIT
    defaults = {entry.name: entry.default for entry in fields(options)}
    if wrong := [name for name in of_other if getattr(options, name) != defaults[name]]:
        other = "predict" if options.action == "fit" else "fit"
        print(f"byol: --{wrong[0].replace('_', '-')} belongs to byol classify {other}", file=sys.stderr)
        return USAGE_ERROR
    return _fit(options) if options.action == "fit" else _predict(options)


def _fit(options: Classify) -> int:
    from byol.cli.console import Console
    from byol.commands.fit_classifier import fit_classifier

    with Console() as console:
        fitted = fit_classifier(
            options.subject,
            options.place.spec(options.data),
            options.out,
            labels=options.labels,
            finetune=options.finetune,
            most_wrong=options.most_wrong,
            seed=options.seed,
            device=options.device,
            workers=options.workers,
            say=console.say,
            show=console.work,
        )
    for line in fitted.words:
        print(line)
    print(f"page {fitted.path / 'classifier.html'}: open it in a browser")
    always = () if fitted.certainty.wrong is not None else ("--threshold", "0")
    fixed = "--data", "YOUR_FOLDER", "--out", "predictions.csv", "--copy-to", "sorted"
    print(f"Next: {command('classify', 'predict', fitted.path, *fixed, *always)}")
    return 0


def _predict(options: Classify) -> int:
    from byol.cli.console import Console
    from byol.commands.classify import classify

    with Console() as console:
        result = classify(
            options.subject,
            options.place.spec(options.data),
            options.out,
            copy_to=options.copy_to,
            link_to=options.link_to,
            threshold=options.threshold,
            device=options.device,
            say=console.say,
            show=console.work,
        )
    for name, reason in result.skipped:
        print(f"  left out {name}: {reason}", file=sys.stderr)
    width = max(map(len, result.counts))
    for name, number in result.counts.items():
        print(f"  {name:{width}}  {number:,}")
    if result.labelled:
        seen = (
            f"; in {result.denied:,} of them the classifier sees another class: look at their guesses"
            if result.denied
            else ""
        )
        print(f"{counted(result.labelled, 'image')} of these keep the label that you gave{seen}")
    if result.promise:
        print(result.promise)
    if result.wrong is not None:
        print(f"{result.wrong} % of the images that the classifier named are in a folder of another name")
    print(f"written to {result.table}" + (f"; sorted in {result.folder}" if result.folder else ""))
    return 0


COMMANDS: Commands = {"classify": (Classify, run_classify)}
