"""Options of `byol report` and `byol diagnose`."""

from dataclasses import dataclass, field

import tyro

from byol.cli.options import DataPlace, Device, Place


@dataclass(frozen=True)
class Report:
    """Write one HTML page about runs: verdict, curves, views, map, neighbours, clusters."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories; several are laid over each other."""
    data: str = ""
    """Images to show, as for pretrain. Default: those of the (first) run."""
    out: str = ""
    """The file to write. Default: report.html in the (first) run."""
    open: bool = False
    """Open the page in the browser."""
    images: int = 2000
    """Images on the map, at most 10000; the first 2000 have thumbnails."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


@dataclass(frozen=True)
class Diagnose:
    """Whether a run collapsed: every measure of its encodings, a verdict, the evidence."""

    run: tyro.conf.Positional[str]
    """A run directory, or any folder with encoder.safetensors and encoder.json (fewer measures)."""
    data: str
    """Images, as for pretrain; labels are not needed."""
    images: int = 1000
    """Images looked at, spread over the data."""
    views: int = 8
    """Views of each, half of either kind."""
    seed: int = 0
    """Decides the views."""
    recipe: str = "small"
    """Whose views an encoder without a run is shown."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_report(options: Report) -> int:
    from byol.cli.console import Console
    from byol.report.write import write_report

    with Console() as console:
        path = write_report(
            *options.runs,
            data=options.place.spec(options.data),
            out=options.out or None,
            device=options.device,
            num_images=options.images,
            say=console.say,
            show=console.work,
        )
    print(f"Report written to {path}")
    if options.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


def run_diagnose(options: Diagnose) -> int:
    """`byol diagnose`."""
    from byol.cli.console import Console
    from byol.commands.diagnose import diagnose, tables, write_diagnosis

    with Console() as console:
        found = diagnose(
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
    for header, rows in tables(found):
        console.table(header, rows)
        print()
    for line in found.missing:
        print(f"not measured: {line}")
    if found.stage:
        print(found.stage)
    print(found.verdict)
    print(f"  written to {write_diagnosis(options.run, found)}")
    return 0
