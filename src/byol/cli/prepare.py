"""The commands to run before a training: `byol check-data`, `byol preview` and `byol doctor`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from byol.cli.options import Commands, DataPlace, Place
from byol.config import Config
from byol.recipes import recipe
from byol.runtime.listener import Listener
from byol.runtime.paths import require_outside


@dataclass(frozen=True)
class Preview:
    """Look at the augmented views of your images before training, with warnings about settings that do not suit them."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str
    """Images, in any form that pretrain takes."""
    recipe: str = "small"
    """Recipe that gives the default of every setting (`byol recipes` lists all recipes)."""
    out: str = "preview.png"
    """PNG file to write. An existing file is replaced."""
    rows: int = 6
    """Number of images."""
    draws: int = 3
    """Number of view pairs for each image."""
    channels: tuple[int, ...] = ()
    """Channels that are shown as red, green and blue, counted from 1, such as 4 3 2; or one, as grey. Default: the first three."""
    parameters: bool = False
    """Print the operations that made each view."""
    terminal: bool = True
    """Show the picture in the terminal too, if it is iTerm2, WezTerm, kitty or Ghostty."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Dotted names of the settings given on the command line."""


@dataclass(frozen=True)
class Doctor:
    """Show what this machine can do and, with --data, how long a training with a recipe would take."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str = ""
    """Images, in any form that pretrain takes."""
    recipe: str = "small"
    """Recipe that gives the default of every setting (`byol recipes` lists all recipes)."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Dotted names of the settings given on the command line."""


@dataclass(frozen=True)
class CheckData:
    """Read every image once and report broken files, image sizes and duplicates."""

    data: str
    """Images, in any form that pretrain takes."""
    out: str = ""
    """JSON file for the whole report. The printed report names ten images of each kind."""
    split: Literal["train", "test"] = "train"
    """Part of the data, if it has both."""
    place: Place = field(default_factory=DataPlace)


def run_preview(options: Preview) -> int:
    from byol.assembly.settings import Asked
    from byol.cli.console import show_picture
    from byol.data.open import open_source
    from byol.report.preview import preview

    require_outside(Path(options.out), options.data)
    source = open_source(options.place.spec(options.data), listener=Listener(say=print))
    asked = Asked(options.config, recipe(options.recipe), options.given)
    result = preview(source, asked, rows=options.rows, draws=options.draws, channels=options.channels)
    result.save(Path(options.out))
    if options.terminal:
        show_picture(Path(options.out))
    if options.parameters:
        print("\n".join(result.lines()))
    if result.pairs:
        print(f"{result.pairs}; T' is of another picture of the thing")
    for warning in result.warnings:
        print(f"warning: {warning}")
    if result.proposal and result.proposal.recipe != options.recipe:
        print(f"proposal: --recipe {result.proposal.recipe}, since {result.proposal.reason}")
    if result.grid.shown:
        print(f"shown: {result.grid.shown}")
    print(
        f"{source.description}: each row is an image, then its views T and T' in turn, {result.size} px; written to {options.out}"
    )
    return 0


def run_doctor(options: Doctor) -> int:
    from byol.commands.doctor import estimate, estimate_lines, machine_lines

    print("\n".join(machine_lines(options.config.device)))
    if not options.data:
        return 0
    from byol.assembly.settings import Asked
    from byol.data.open import open_source
    from byol.report.suitability import view_warnings

    asked = Asked(options.config, recipe(options.recipe), options.given)
    place = options.place.spec(options.data)
    result = estimate(open_source(place, listener=Listener(say=print)), asked, place=place)
    print("\n".join(estimate_lines(result)))
    for warning in [*result.profile.notes, *view_warnings(result.config, result.profile), *result.cautions]:
        print(f"warning    {warning}")
    return 0


def run_check_data(options: CheckData) -> int:
    from byol.cli.console import Console
    from byol.data.check_data import check_data
    from byol.data.open import open_source

    if options.out:
        require_outside(Path(options.out), options.data)
    source = open_source(options.place.spec(options.data), options.split, listener=Listener(say=print))
    with Console() as console:
        report = check_data(source, out=options.out or None, listener=console.listener)
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join(report.lines()).encode(encoding, "replace").decode(encoding))
    return 0


COMMANDS: Commands = {
    "check-data": (CheckData, run_check_data),
    "preview": (Preview, run_preview),
    "doctor": (Doctor, run_doctor),
}
