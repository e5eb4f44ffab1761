"""The command `byol study`. Torch is imported only when it runs."""

import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

import tyro

from byol.cli.options import Commands, DataPlace, Place
from byol.errors import ConfigError
from byol.runtime.listener import Listener
from byol.studies import STUDIES


@dataclass(frozen=True)
class RunStudy:
    """Compare variants of the method under equal conditions: a table, a plot, and the expectations that held."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDY", help=f"One of {', '.join(STUDIES)}.")]
    scale: Literal["tiny", "small", "paper"] = "tiny"
    """Size of the study. tiny: at most six variants, about one hour in total; small: every variant, several hours; paper: every variant with the recipe imagenet-300."""
    seeds: int = 3
    """Number of runs per variant, from 1 to 10. More can be added later."""
    minutes: float | None = None
    """Time in minutes for all runs together. A speed test decides how many images each run trains on. Default: 60 at scale tiny, no limit otherwise."""
    images: int | None = None
    """Number of images that each run trains on, counting every pass, in place of --minutes. Use it to repeat a study from another machine."""
    out: str = ""
    """Folder of the study. A study that is already there is continued. Default: runs/studies/NAME-SCALE."""
    data: str = ""
    """Labelled images, in any form that pretrain takes. Default: the data set of the scale."""
    place: Place = field(default_factory=DataPlace)
    jobs: int | None = None
    """Number of runs at the same time; they share the cores equally. Default: one per core, at most four; one on a GPU."""
    commands: bool = False
    """Print the command of every training, to run on a cluster, and train nothing. The study uses their results later. Give --images too; otherwise the speed test measures this machine."""
    ranks: int = 1
    """With --commands: number of processes that share each training. They split each micro-batch of the study."""


def run_study(options: RunStudy) -> int:
    """Runs a study and prints its table. Returns the exit code."""
    from byol.cli.console import Console
    from byol.studies.run_study import begin, carry_out, training_command
    from byol.studies.study_report import lines, table

    if options.ranks != 1 and not options.commands:
        raise ConfigError("--ranks needs --commands. Without it a study starts its own processes (--jobs).")
    begun = begin(
        options.name,
        scale=options.scale,
        seeds=options.seeds,
        out=options.out or None,
        data=options.place.spec(options.data),
        minutes=options.minutes,
        images=options.images,
        jobs=options.jobs,
        listener=Listener(say=partial(print, file=sys.stderr)),
    )
    if options.commands:
        print("\n".join(training_command(task, options.ranks) for task in begun.tasks if task.variant))
        return 0
    with Console() as console:
        result = carry_out(begun, listener=console.listener, overall=console.overall)
    if isinstance(result, int):
        print(f"stopped. The same command continues the study {options.name}.")
        return 128 + result
    console.table(*table(result))
    print("\n".join(lines(result)))
    return 0


COMMANDS: Commands = {
    "study": (RunStudy, run_study),
}
