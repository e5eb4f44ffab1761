"""The command `byol adapt`."""

import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from byol.cli.options import USAGE_ERROR, Commands, DataPlace, Place
from byol.config import Config
from byol.recipes import recipe
from byol.runtime.words import command


@dataclass(frozen=True)
class Adapt:
    """Train an encoder on from given weights on your images, and keep the start unless that made it better."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    start: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="START")] = ""
    """Encoder to start from: timm:MODEL, a run directory, or an encoder folder (an export or an import)."""
    data: str = ""
    """Images without labels, in any form that pretrain takes."""
    labelled: str = ""
    """Images with labels for the guard, in any form that evaluate takes. A fifth of each class is left for byol evaluate. Without them the guard uses measures that need no labels, which err more often."""
    weights: str = ""
    """Weights file for timm:MODEL (.safetensors, .pth, .pt). Default: the weights that timm downloads."""
    prefix: str = ""
    """Text before the network's names in that file, such as student.backbone., if several fit."""
    recipe: str = "small"
    """Recipe that gives the default of every setting (`byol recipes` lists all recipes)."""
    out: str = ""
    """Folder to write. It must not exist yet. Default: runs/NAME-1, runs/NAME-2, ..."""
    minutes: float | None = None
    """Time in minutes of the whole command. Default: 30, or 30 epochs if they take less."""
    resume: str = ""
    """Folder of a stopped adaptation to continue."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Dotted names of the settings given on the command line."""


def run_adapt(options: Adapt) -> int:
    """Adapts, writes the page, and says what was kept. Returns the exit code: 128 plus the signal's number if a signal stopped it."""
    from byol.assembly.settings import Asked
    from byol.cli.console import Console
    from byol.commands.adapt import adapt, continue_adaptation
    from byol.report.change import change_after

    if not options.resume and not (options.start and options.data):
        example = command("adapt", "timm:resnet50", "--data", "YOUR_FOLDER")
        print(f"byol: name the start and the images: {example}. See byol adapt --help", file=sys.stderr)
        return USAGE_ERROR
    with Console() as console:
        callbacks = {"say": console.say, "show": console.show, "work": console.work}
        if options.resume:
            result = continue_adaptation(options.resume, command=sys.argv, **callbacks)
        else:
            result = adapt(
                options.start,
                options.place.spec(options.data),
                weights=options.weights,
                prefix=options.prefix,
                labelled=options.place.spec(options.labelled),
                minutes=options.minutes,
                recipe=options.recipe,
                out=options.out or None,
                asked=Asked(options.config, recipe(options.recipe), options.given),
                command=sys.argv,
                **callbacks,
            )
        if result.decision is None:
            console.say(f"continue with: {command('adapt', '--resume', result.path)}")
            return 128 + (result.run.signal_number or 0)
        change_after(result.path, console.listener.unfailing())
    print(f"kept: {result.decision.kept.name}, in {result.path}")
    print(f"Next: {command('embed', result.path, '--data', 'YOUR_FOLDER', '--out', 'vectors.parquet')}")
    return 0


COMMANDS: Commands = {"adapt": (Adapt, run_adapt)}
