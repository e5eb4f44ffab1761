"""The commands `byol report` and `byol diagnose`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from byol.cli.options import Commands, DataPlace, Device, Place, RunName, open_page


@dataclass(frozen=True)
class Report:
    """Write one HTML page about one or several runs: verdict, curves, views, map, neighbours, clusters."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run directories. Several runs are compared on the same page. The folder of an encoder and what was trained on from it (START RUN) are shown side by side."""
    data: str = ""
    """Images to show, in any form that pretrain takes. Default: the images of the first run."""
    out: str = ""
    """File to write. Default: report.html in the first run; change.html in RUN for START RUN."""
    open: bool = False
    """Open the page in the browser."""
    images: int = 2000
    """Number of images on the map, from 2 to 10000. The first 2000 have thumbnails."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


@dataclass(frozen=True)
class Diagnose:
    """Check whether a run collapsed: measures of its encodings and a verdict with its evidence."""

    run: RunName
    """A run directory, or an encoder folder, which allows fewer measures."""
    data: str = ""
    """Images, in any form that pretrain takes; labels are not needed. Default: the images that the run was trained on."""
    images: int = 1000
    """Number of images that are measured, spread over the data."""
    views: int = 8
    """Number of views of each image, an even number: half of them T, half T'."""
    seed: int = 0
    """Random seed of the views."""
    recipe: str = "small"
    """Recipe whose views are used if the encoder is not in a run directory."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_report(options: Report) -> int:
    from byol.cli.console import Console
    from byol.report.change import is_pair, write_change
    from byol.report.write import write_report

    with Console() as console:
        common = {
            "data": options.place.spec(options.data),
            "out": options.out or None,
            "device": options.device,
            "say": console.say,
            "show": console.work,
        }
        if is_pair(options.runs):
            path = write_change(*options.runs, **common)
        else:
            path = write_report(*options.runs, num_images=options.images, **common)
    print(f"Report written to {path}")
    if options.open:
        open_page(path)
    return 0


def run_diagnose(options: Diagnose) -> int:
    """Prints the measures and the verdict, and writes diagnose.json."""
    from byol.cli.console import Console
    from byol.commands.diagnose import diagnose, tables, write_diagnosis

    with Console() as console:
        diagnosis = diagnose(
            options.run,
            options.place.spec(options.data),
            num_images=options.images,
            num_views=options.views,
            seed=options.seed,
            recipe=options.recipe,
            device=options.device,
            say=console.say,
            show=console.work,
        )
    for header, rows in tables(diagnosis):
        console.table(header, rows)
        print()
    for line in diagnosis.missing:
        print(f"not measured: {line}")
    if diagnosis.stage:
        print(diagnosis.stage)
    print(diagnosis.verdict)
    print(f"  written to {write_diagnosis(options.run, diagnosis)}")
    return 0


COMMANDS: Commands = {
    "report": (Report, run_report),
    "diagnose": (Diagnose, run_diagnose),
}
