"""How many images each run of a study sees, so that the whole of it fits a time."""

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from byol.commands.doctor import estimate
from byol.data.source import ImageSource
from byol.errors import ConfigError
from byol.runtime.files import read_json
from byol.runtime.hardware import choose_device, num_cores
from byol.runtime.listener import Listener
from byol.studies.runs import Task

BUDGET, PROTOCOL = "budget.json", "protocol.txt"
KEPT = 0.9
"""A run's speed over its length and beside others, in that of the test."""
START_SECONDS = 15.0
"""Of a process, and what its evaluation takes whatever the images."""
EVALUATED = 4.0
"""Images whose features are found in the time of training on one."""
ROUND = tuple(int(step * 10**power) for power in range(1, 9) for step in (1, 1.5, 2, 3, 4, 6, 8))
"""So that the same machine mostly finds the same again."""
FEWEST_BATCHES = 40


@dataclass(frozen=True)
class _Run:
    passes: float
    """Images that it sees, in those of the others."""
    images_per_second: float
    other_seconds: float


def budgeted(
    folder: Path,
    tasks: list[Task],
    source: ImageSource,
    *,
    minutes: float | None,
    images: int | None,
    usual_minutes: float | None,
    jobs: int,
    listener: Listener,
) -> dict[str, Any] | None:
    """The content of budget.json: what is asked for, what the study in `folder` was begun with, or what fits the time.

    None where neither images nor a time is given: the settings' epochs stand. Raises ConfigError for impossible values, and where
    the study was begun with others.
    """
    trainings = [task for task in tasks if task.variant is not None]
    begun = _begun(folder)
    if images is not None:
        if minutes is not None:
            raise ConfigError(f"Both minutes ({minutes:g}) and images ({images}) are given; give one of them.")
        least = math.ceil(
            max(t.config.batch_size / passes for t, passes in zip(trainings, _passes(trainings), strict=True))
        )
        if images < least:
            raise ConfigError(f"images must be at least {least:,}, a batch for every variant; found {images}.")
        return begun if begun and begun["images_per_run"] == images else {"images_per_run": images}
    if begun:
        if minutes is not None and minutes != begun.get("minutes"):
            raise ConfigError(
                f"{folder} was begun with {begun['images_per_run']:,} images per run. Go on without --minutes, or choose another --out."
            )
        return begun
    limit = minutes if minutes is not None else usual_minutes
    if limit is None:
        return None
    if (folder / PROTOCOL).exists():
        raise ConfigError(
            f"{folder} holds a study without a usable {BUDGET}. Go on with the --images of its {PROTOCOL}, or choose another --out."
        )
    return _fit(trainings, source, limit, jobs, listener)


def _begun(folder: Path) -> dict[str, Any] | None:
    budget = read_json(folder / BUDGET) or {}
    images = budget.get("images_per_run")
    return budget if isinstance(images, int) and images > 0 else None


def _passes(trainings: Sequence[Task]) -> list[float]:
    most = max(task.config.epochs for task in trainings)
    return [task.config.epochs / most for task in trainings]


def _fit(trainings: list[Task], source: ImageSource, minutes: float, jobs: int, listener: Listener) -> dict[str, Any]:
    """Measures each variant for some seconds: the images per run with which all runs, `jobs` at a time, end in `minutes`."""
    if not (isinstance(minutes, int | float) and 0 < minutes < math.inf):
        raise ConfigError(f"minutes must be a number above 0; found {minutes}.")
    began = time.monotonic()
    listener.say("a speed test of each variant, some seconds long")
    rates = _measure(trainings, source, jobs)
    runs = [
        _Run(passes, rate := rates[task.variant or ""], START_SECONDS + len(source) / EVALUATED / rate)
        for task, passes in zip(trainings, _passes(trainings), strict=True)
    ]
    seconds = 60 * minutes - (time.monotonic() - began)
    fewest = FEWEST_BATCHES * max(task.config.batch_size for task in trainings)
    if (needed := _end(runs, jobs, fewest)) > seconds:
        raise ConfigError(
            f"minutes {minutes:g} is too short for {len(runs)} runs, which take about {needed / 60:.0f} with {fewest:,} images each, "
            "the fewest that are tried. Give more --minutes, fewer --seeds, or the number of --images yourself."
        )
    images = max(n for n in (fewest, *ROUND) if n == fewest or (n > fewest and _end(runs, jobs, n) <= seconds))
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    listener.say(f"images a second of a run, {jobs} at a time: {told}")
    listener.say(
        f"{images:,} images per run: about {_end(runs, jobs, images) / 60:.0f} of the {minutes:g} minutes for all"
    )
    return {"images_per_run": images, "minutes": minutes, "images_per_second": rates}


def _measure(trainings: list[Task], source: ImageSource, jobs: int) -> dict[str, float]:
    """Images a second of a run of each variant, beside the other jobs."""
    on_cpu = choose_device(trainings[0].config.device).type == "cpu"
    share = min(1.0, (num_cores() if on_cpu else 1) / jobs)
    rates: dict[str, float] = {}
    threads = torch.get_num_threads()
    if jobs > 1:
        torch.set_num_threads(max(1, num_cores() // jobs))
    try:
        for task in trainings:
            if task.variant and task.variant not in rates:
                found = estimate(source, task.asked, epochs_are_final=False)
                rate = KEPT * share * found.trained_per_second
                rates[task.variant] = rate if found.is_resident else min(rate, found.decoded_per_second / jobs)
    finally:
        torch.set_num_threads(threads)
    return rates


def _end(runs: list[_Run], jobs: int, images: int) -> float:
    """Seconds until all runs have ended, each begun as soon as one of the `jobs` is free."""
    free = [0.0] * jobs
    for run in runs:
        heapq.heapreplace(free, free[0] + run.passes * images / run.images_per_second + run.other_seconds)
    return max(free)
