"""The commands `byol select` and `byol audit`. Torch is imported only when they run."""

import sys
from dataclasses import dataclass, field
from typing import Literal

from byol.cli.options import Commands, DataPlace, Device, EncoderName, Place, open_page
from byol.runtime.words import counted

SHOWN = 5
"""Number of chosen images that are printed."""


@dataclass(frozen=True)
class Audit:
    """Look for what is wrong with images and labels: wrong labels, copies, leaks, outliers, bad pictures; changes nothing."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, timm:MODEL:pretrained, pixels or hog."""
    data: str
    """Images, with or without labels, in any form that pretrain takes."""
    labels: str = ""
    """CSV file of labels for images of --data, in place of folders: columns file and label, such as the labels.csv of explore."""
    test_data: str = ""
    """Test images, if they are not part of --data."""
    out: str = ""
    """Folder for audit.html and audit.csv. Default: audit/ in the encoder's folder; runs/NAME/DATA/audit if the encoder is not a folder."""
    open: bool = False
    """Open the page in the browser."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_audit(options: Audit) -> int:
    """Audits and prints the counts."""
    from byol.cli.console import Console
    from byol.commands.audit import audit
    from byol.evaluate.findings import KINDS

    with Console() as console:
        result = audit(
            options.run,
            options.place.spec(options.data),
            labels=options.labels,
            test_data=options.test_data,
            out=options.out,
            device=options.device,
            say=console.say,
            show=console.work,
        )
    print(result.headline)
    if result.counts:
        console.table(["finding", "count", ""], [[kind, f"{n:,}", KINDS[kind]] for kind, n in result.counts.items()])
    for note in result.findings.notes:
        print(f"  {note}")
    print(f"  written to {result.page}, {result.list}")
    if options.open:
        open_page(result.page)
    return 0


@dataclass(frozen=True)
class Select:
    """Choose which images to label next, without images that are too alike; writes a list."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, timm:MODEL:pretrained, pixels or hog."""
    data: str
    """Images to choose from, in any form that pretrain takes; labels are not needed."""
    out: str
    """List to write, .csv: rank, file, score, reason."""
    count: int = 100
    """Number of images."""
    by: Literal["coverage", "typical", "uncertain", "outliers", "mixed"] = "mixed"
    """Method. coverage: images that stand for the others best; typical: typical images of many clusters; uncertain: images that a classifier of the labelled ones is least sure of; outliers: images far from all others; mixed: coverage of what a classifier of the labelled ones is not sure of."""
    labelled: str = ""
    """Images that are labelled already: a folder with a folder for each class, another kind of data, or a list of images of --data (.txt: a name on each line; .csv: columns file and label). They are not chosen again."""
    copy_to: str = ""
    """New folder for copies of the chosen files, named by rank."""
    link_to: str = ""
    """New folder for links to the chosen files, in place of copies."""
    seed: int = 0
    """Random seed of clusters, and of the images that coverage compares where there are more than 8,192."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_select(options: Select) -> int:
    """Writes the list and prints its first lines."""
    from byol.cli.console import Console
    from byol.commands.select import select

    with Console() as console:
        result = select(
            options.run,
            options.place.spec(options.data),
            options.out,
            count=options.count,
            by=options.by,
            labelled=options.labelled,
            copy_to=options.copy_to,
            link_to=options.link_to,
            seed=options.seed,
            device=options.device,
            say=console.say,
            show=console.work,
        )
    for image in result.images[:SHOWN]:
        print(f"  {image.rank}. {image.file}: {image.reason}")
    for name, reason in result.skipped:
        print(f"  skipped {name}: {reason}", file=sys.stderr)
    print(f"{counted(len(result.images), 'image')} written to {result.path}")
    if folder := options.copy_to or options.link_to:
        print(f"  {'copied' if options.copy_to else 'linked'} to {folder}")
    return 0


COMMANDS: Commands = {
    "select": (Select, run_select),
    "audit": (Audit, run_audit),
}
