"""Options of `byol pretrain`, `byol demo` and `byol recipes`."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from byol.cli.options import USAGE_ERROR, DataPlace, Place
from byol.config import Config, overrides, settings_of
from byol.errors import ByolError
from byol.recipes import RECIPES, recipe


@dataclass(frozen=True)
class Pretrain:
    """Pretrain an encoder on images without labels."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str = ""
    """A folder of images, parquet, tar shards, .npy, a saved data set, or one by name (sample, cifar10, cifar100, stl10, fashion-mnist, imagenette, imagenet)."""
    recipe: str = "small"
    """Where the defaults of all settings come from (`byol recipes` lists them)."""
    out: str = ""
    """The run directory; must not exist. Default: runs/NAME-1, runs/NAME-2, ..."""
    minutes: float | None = None
    """Wall time from this command to its report, in place of epochs: a short speed test decides the number of steps (and
    the sizes, where a recipe has several). The number of steps may be corrected once, before a fifth of them."""
    resume: str = ""
    """Continue this run directory. `auto`: continue --out where it is a run, else begin it (for batch queues)."""
    accept_changes: bool = False
    """With --resume: go on although settings differ from the run's."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """The settings that the command line names."""


@dataclass(frozen=True)
class Demo:
    """Pretrain on the bundled images and compare with pixels and with the untrained encoder."""

    out: str = "runs/demo"
    """The run directory; must not exist."""
    seeds: int = 1
    """Repeat with that many seeds (at most 10), for intervals over runs."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: recipe("sample").config)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """The settings that the command line names."""


@dataclass(frozen=True)
class Recipes:
    """List the recipes, where their numbers come from, and what was measured."""


def run_pretrain(options: Pretrain) -> int:
    began = time.monotonic()
    from byol.cli.console import Console
    from byol.commands.pretrain import start
    from byol.commands.resume import resume
    from byol.data.open import DataArguments
    from byol.report.write import report_after
    from byol.training.plan import TimeLimit
    from byol.training.trainer import unfailing

    source = None
    with Console() as console:
        if options.resume == "auto" and not options.out:
            print("byol: --resume auto continues what lies in --out: name one", file=sys.stderr)
            return USAGE_ERROR
        arguments = None
        if options.data:
            arguments = DataArguments(options.data, options.place.data_root, options.place.download)
        path = options.out if options.resume == "auto" else options.resume
        if options.resume == "auto" and not (Path(path) / "run.json").exists():
            path = ""
        if path:
            if options.minutes is not None and options.resume != "auto":
                print("byol: --minutes is for a new run; one that goes on keeps its plan", file=sys.stderr)
                return USAGE_ERROR
            if options.minutes is not None:
                console.say(f"{path} goes on with its own plan, whatever --minutes says")
            run = resume(
                path,
                overrides=overrides(recipe(options.recipe).config, options.config)
                | settings_of(options.config, options.given),  # those that equal the recipe's, too
                accept_changes=options.accept_changes,
                data=arguments,
                say=console.say,
                show=console.show,
                command=sys.argv,
            )
        else:
            if arguments is None:
                print(
                    "byol: name the images with --data (or a run to continue with --resume). See byol pretrain --help",
                    file=sys.stderr,
                )
                return USAGE_ERROR
            from byol.data.open import open_source

            limit = None if options.minutes is None else TimeLimit(options.minutes, began)
            source = open_source(
                options.data, root=options.place.data_root, download=options.place.download, say=console.say
            )
            run = start(
                options.config,
                options.recipe,
                arguments,
                source,
                out=options.out or None,
                limit=limit,
                given=options.given,
                say=console.say,
                show=console.show,
                command=sys.argv,
            )
        if run.finished:
            report_after(run.path, source, unfailing(console.say))
    return 0 if run.finished else 128 + (run.signal_number or 0)


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
            say=console.say,
            show=console.show,
        )
    if not result.scores:
        return 128 + (result.runs[-1].signal_number or 0)
    console.table(*table(result))
    report_after(Path(options.out), None, console.say)
    print(
        f"{result.elapsed_seconds:.0f} s in all. The run is in {options.out}: metrics.jsonl, encoder.safetensors, result.json, demo.json"
    )
    print(
        f"Next: byol pretrain --data YOUR_FOLDER, or byol embed {result.runs[0].path} --data sample --out vectors.parquet"
    )
    return 0


def run_recipes(options: Recipes) -> int:
    for name in RECIPES:
        found = recipe(name)
        print(f"{name}\n  source    {found.source}\n  expected  {found.expected}\n  measured  {found.measured}")
    return 0
