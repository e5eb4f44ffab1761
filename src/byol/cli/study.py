"""The options of `byol study`; torch is imported only when it runs."""

import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

import tyro

from byol.cli.options import DataPlace, Place
from byol.errors import ConfigError
from byol.runtime.listener import Listener
from byol.studies import STUDIES


@dataclass(frozen=True)
class RunStudy:
    """Compare variants of the method under equal conditions: a table, a plot, and which expectations held."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"One of {', '.join(STUDIES)}.")]
    scale: Literal["tiny", "small", "paper"] = "tiny"
    """tiny: at most six variants, about an hour in all; small: every variant, hours; paper: imagenet-300 with the settings of each variant."""
    seeds: int = 3
    """Runs per variant, from 1 to 10; more can be added later."""
    minutes: float | None = None
    """For all runs together: each sees as many images as fit, by a speed test. Default: 60 at scale tiny, no limit at the others."""
    images: int | None = None
    """Images that each run sees, in place of what fits the time: to repeat a study of another machine."""
    out: str = ""
    """Where it is written, or goes on. Default: runs/studies/NAME-SCALE."""
    data: str = ""
    """Labelled images, as for pretrain, in place of the scale's."""
    place: Place = field(default_factory=DataPlace)
    jobs: int | None = None
    """Runs at a time, each with its share of the cores. Default: one per core, up to four; one on a GPU."""
    commands: bool = False
    """Print the command of every training in place of running them, for a cluster; the study takes their results later. Give --images too, or the speed test is of this machine."""
    ranks: int = 1
    """With --commands: processes that will share each training; a micro-batch of the study is the sum of theirs."""


def run_study(options: RunStudy) -> int:
    """Runs a study and prints its table; the exit code."""
    from byol.cli.console import Console
    from byol.studies.run_study import begin, carry_out, training_command
    from byol.studies.study_report import lines, table

    if options.ranks != 1 and not options.commands:
        raise ConfigError("--ranks goes with --commands; a study trains in processes of its own (--jobs).")
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
        print(f"stopped; the same command goes on. {options.name}: unfinished")
        return 128 + result
    console.table(*table(result))
    print("\n".join(lines(result)))
    return 0
