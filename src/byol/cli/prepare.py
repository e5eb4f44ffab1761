"""Options of the commands for before a training: `byol check-data`, `byol preview`, `byol doctor`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from byol.cli.options import DataPlace, Place
from byol.config import Config
from byol.recipes import recipe
from byol.runtime.listener import Listener
from byol.runtime.paths import require_outside


@dataclass(frozen=True)
class Preview:
    """Look at the views of your images before training, and read what does not suit them."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str
    """Images, as for pretrain."""
    recipe: str = "small"
    """Where the defaults of all settings come from (`byol recipes` lists them)."""
    out: str = "preview.png"
    """The PNG file to write; one that exists is replaced."""
    rows: int = 6
    """Images."""
    draws: int = 3
    """Pairs of views for each."""
    parameters: bool = False
    """Print what was done to each view."""
    terminal: bool = True
    """Show the picture in a terminal that can: iTerm2, WezTerm, kitty, Ghostty."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Settings that the command line names."""


@dataclass(frozen=True)
class Doctor:
    """Tell what this machine can do and, with --data, whether and how fast a recipe would train."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str = ""
    """Images, as for pretrain."""
    recipe: str = "small"
    """Where the defaults of all settings come from (`byol recipes` lists them)."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Settings that the command line names."""


@dataclass(frozen=True)
class CheckData:
    """Read every image once: what is broken, how large, and what is there twice."""

    data: tyro.conf.Positional[str]
    """Images, as for pretrain."""
    out: str = ""
    """A JSON file for the whole report; what is printed names ten of each."""
    split: Literal["train", "test"] = "train"
    """Which part, where the data has both."""
    place: Place = field(default_factory=DataPlace)


def run_preview(options: Preview) -> int:
    from byol.build.settings import Asked
    from byol.cli.console import show_picture
    from byol.data.open import open_source
    from byol.report.preview import preview

    require_outside(Path(options.out), options.data)
    source = open_source(options.place.spec(options.data), listener=Listener(say=print))
    asked = Asked(options.config, recipe(options.recipe), options.given)
    found = preview(source, asked, rows=options.rows, draws=options.draws)
    found.save(Path(options.out))
    if options.terminal:
        show_picture(Path(options.out))
    if options.parameters:
        print("\n".join(found.lines()))
    for warning in found.warnings:
        print(f"note: {warning}")
    print(f"{source.description}: each row an image, then T and T' by turns, {found.size} px; written to {options.out}")
    return 0


def run_doctor(options: Doctor) -> int:
    from byol.commands.doctor import estimate, estimate_lines, machine_lines

    print("\n".join(machine_lines(options.config.device)))
    if not options.data:
        return 0
    from byol.build.settings import Asked
    from byol.data.open import open_source
    from byol.report.suitability import view_warnings

    asked = Asked(options.config, recipe(options.recipe), options.given)
    result = estimate(open_source(options.place.spec(options.data), listener=Listener(say=print)), asked)
    print("\n".join(estimate_lines(result)))
    for warning in [*result.profile.notes, *view_warnings(result.config, result.profile), *result.cautions]:
        print(f"note       {warning}")
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
