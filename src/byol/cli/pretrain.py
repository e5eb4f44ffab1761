"""The commands `byol pretrain`, `byol demo` and `byol recipes`."""

import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from byol.cli.options import USAGE_ERROR, Commands, DataPlace, Place
from byol.config import Config, as_options, changed_settings, pick
from byol.errors import ByolError
from byol.recipes import RECIPES, recipe
from byol.runtime.words import command

if TYPE_CHECKING:
    from byol.cli.console import Console
    from byol.data.source import ImageSource
    from byol.training.run import Run


@dataclass(frozen=True)
class Pretrain:
    """Pretrain an encoder on images without labels."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str = ""
    """Images: a folder, parquet files, tar shards, an .npy file, a saved data set, or the name of a data set (sample, cifar10, cifar100, stl10, fashion-mnist, imagenette, imagenet, and those of `byol transfer`, such as pets)."""
    recipe: str = "small"
    """Recipe that gives the default of every setting (`byol recipes` lists all recipes)."""
    out: str = ""
    """Run directory to write. It must not exist yet. Default: runs/NAME-1, runs/NAME-2, ..."""
    minutes: float | None = None
    """Time in minutes from this command to its report, in place of epochs. Default, for recipes that are not published ones: an hour at most. A short speed test decides the number of steps and, if the recipe has several sizes, the size. The number of steps is adapted as the speed changes. With --resume: time until the end; a finished run is trained further."""
    resume: str = ""
    """Run directory to continue. `auto`: continue the run in --out, or start it if there is none (for batch queues)."""
    accept_changes: bool = False
    """With --resume: continue although settings differ from those of the run."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Dotted names of the settings given on the command line."""


@dataclass(frozen=True)
class Demo:
    """Pretrain on the bundled images and compare with raw pixels and with the untrained encoder."""

    out: str = "runs/demo"
    """Run directory to write. It must not exist yet."""
    seeds: int = 1
    """Number of trainings with different seeds, from 1 to 10. Several give confidence intervals over trainings."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: recipe("sample").config)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Dotted names of the settings given on the command line."""


@dataclass(frozen=True)
class Recipes:
    """List the recipes, with the sources of their settings and the measured results; show all settings of one."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[RECIPE]")] = ""
    """Recipe to show alone, with every setting that differs from the default."""


def run_pretrain(options: Pretrain) -> int:
    """Starts or continues a run. Returns the exit code: 128 plus the signal's number if a signal stopped the run."""
    start_time = time.monotonic()
    from byol.cli.console import Console
    from byol.report.write import report_after

    path = options.out if options.resume == "auto" else options.resume
    if problem := _usage_problem(options):
        print(f"byol: {problem}", file=sys.stderr)
        return USAGE_ERROR
    with Console() as console:
        if path and (options.resume != "auto" or (Path(path) / "run.json").exists()):
            run, source = _continue(options, path, console), None
        else:
            run, source = _start(options, start_time, console)
        if run.finished:
            report_after(run.path, source, console.listener.unfailing())
    return 0 if run.finished else 128 + (run.signal_number or 0)


def _usage_problem(options: Pretrain) -> str:
    """A message about missing or contradictory options; empty if there is no problem."""
    if options.resume == "auto" and not options.out:
        return "--resume auto needs --out, the run directory to continue or create"
    continues = options.resume and (options.resume != "auto" or (Path(options.out) / "run.json").exists())
    if not options.data and not continues:
        return "name the images with --data (or a run to continue with --resume). See byol pretrain --help"
    return ""


def _continue(options: Pretrain, path: str, console: "Console") -> "Run":
    from byol.commands.resume import resume

    adds_time = options.resume != "auto"
    if options.minutes is not None and not adds_time:
        console.say(f"{path} continues with its own plan; --minutes has no effect with --resume auto")
    changed = changed_settings(recipe(options.recipe).config, options.config)
    return resume(
        path,
        overrides=changed | pick(options.config, options.given),  # also settings given with the recipe's value
        accept_changes=options.accept_changes,
        minutes=options.minutes if adds_time else None,
        data=options.place.spec(options.data),
        say=console.say,
        show=console.show,
        command=sys.argv,
    )


def _start(options: Pretrain, start_time: float, console: "Console") -> "tuple[Run, ImageSource]":
    from byol.assembly.settings import Asked
    from byol.commands.pretrain import Request, start
    from byol.data.open import open_source
    from byol.training.plan import TimeLimit, default_limit

    asked = Asked(options.config, recipe(options.recipe), options.given)
    limit = default_limit(asked, start_time) if options.minutes is None else TimeLimit(options.minutes, start_time)
    spec = options.place.spec(options.data)
    source = open_source(spec, listener=console.listener)
    request = Request(
        asked,
        options.recipe,
        spec,
        source,
        options.out or None,
        limit=limit,
        limit_is_given=options.minutes is not None,
        command=sys.argv,
    )
    return start(request, console.listener), source


def run_demo(options: Demo) -> int:
    from byol.cli.console import Console
    from byol.commands.demo import demo, table
    from byol.report.write import report_after

    if not 1 <= options.seeds <= 10:
        raise ByolError(f"--seeds must be from 1 to 10; found {options.seeds}.")
    with Console() as console:
        result = demo(
            options.out,
            num_seeds=options.seeds,
            config=options.config,
            given=options.given,
            listener=console.listener,
        )
    if not result.scores:
        return 128 + (result.runs[-1].signal_number or 0)
    console.table(*table(result))
    report_after(Path(options.out), None, console.listener)
    print(
        f"finished in {result.elapsed_seconds:.0f} s. The run is in {options.out}: metrics.jsonl, encoder.safetensors, result.json, demo.json"
    )
    print(
        f"Next: {command('pretrain', '--data', 'YOUR_FOLDER')}, or {command('embed', result.runs[0].path, '--data', 'sample', '--out', 'vectors.parquet')}"
    )
    return 0


def run_recipes(options: Recipes) -> int:
    for name in [options.name] if options.name else RECIPES:
        entry = recipe(name)
        print(f"{name}\n  source    {entry.source}\n  expected  {entry.expected}\n  measured  {entry.measured}")
    if options.name:
        settings = changed_settings(Config(), recipe(options.name).config)
        print("settings that differ from the defaults" if settings else "all settings have their defaults")
        for name, value in settings.items():
            print(f"  {shlex.join(as_options({name: value}))}")
    return 0


COMMANDS: Commands = {
    "demo": (Demo, run_demo),
    "pretrain": (Pretrain, run_pretrain),
    "recipes": (Recipes, run_recipes),
}
