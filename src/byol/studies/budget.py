"""The budget of a study: the number of images per run, chosen so that the whole study fits a given time."""

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
SUSTAINED_SPEED = 0.9
"""Expected speed of a full run, as a fraction of the speed test's: runs slow down over time and share the machine."""
START_SECONDS = 15.0
"""Seconds to start a run's process, plus the part of its evaluation that does not depend on the number of images."""
EVALUATION_SPEEDUP = 4.0
"""Extracting features is this many times faster per image than training."""
ROUND = tuple(int(step * 10**power) for power in range(1, 9) for step in (1, 1.5, 2, 3, 4, 6, 8))
"""Numbers of images per run to choose from. They are few, so that the same machine mostly chooses the same number again."""
FEWEST_BATCHES = 40
"""Least length of a run, in batches."""


@dataclass(frozen=True)
class _Run:
    passes: float
    """Number of images that the run trains on, as a fraction of the longest run's."""
    images_per_second: float
    other_seconds: float
    """Seconds for start and evaluation."""


def study_budget(
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
    """Content of budget.json: the requested images per run, the recorded budget of `folder`, or a number that fits the time.

    None if neither a number of images nor a time is given: the epochs in the settings apply. Raises ConfigError for
    impossible values, and for a time other than the recorded one.
    """
    trainings = [task for task in tasks if task.variant is not None]
    recorded = _recorded_budget(folder)
    if images is not None:
        if minutes is not None:
            raise ConfigError(f"Both minutes ({minutes:g}) and images ({images}) are given; give only one of them.")
        least = math.ceil(
            max(t.config.batch_size / passes for t, passes in zip(trainings, _passes(trainings), strict=True))
        )
        if images < least:
            raise ConfigError(f"images must be at least {least:,}, one batch for every variant; found {images}.")
        return recorded if recorded and recorded["images_per_run"] == images else {"images_per_run": images}
    if recorded:
        if minutes is not None and minutes != recorded.get("minutes"):
            raise ConfigError(
                f"{folder} was started with {recorded['images_per_run']:,} images per run. Continue without --minutes, or choose another --out."
            )
        return recorded
    limit = minutes if minutes is not None else usual_minutes
    if limit is None:
        return None
    if (folder / PROTOCOL).exists():
        raise ConfigError(
            f"{folder} holds a study without a usable {BUDGET}. Continue with the --images of its {PROTOCOL}, or choose another --out."
        )
    return _fit(trainings, source, limit, jobs, listener)


def _recorded_budget(folder: Path) -> dict[str, Any] | None:
    budget = read_json(folder / BUDGET) or {}
    images = budget.get("images_per_run")
    return budget if isinstance(images, int) and images > 0 else None


def _passes(trainings: Sequence[Task]) -> list[float]:
    most = max(task.config.epochs for task in trainings)
    return [task.config.epochs / most for task in trainings]


def _fit(trainings: list[Task], source: ImageSource, minutes: float, jobs: int, listener: Listener) -> dict[str, Any]:
    """Budget with which all runs, `jobs` at a time, finish in `minutes`, by a speed test of some seconds per variant."""
    if not (isinstance(minutes, int | float) and 0 < minutes < math.inf):
        raise ConfigError(f"minutes must be a number above 0; found {minutes}.")
    started = time.monotonic()
    listener.say("speed test of each variant, some seconds long")
    rates = _measure(trainings, source, jobs)
    runs = [
        _Run(passes, rate := rates[task.variant or ""], START_SECONDS + len(source) / EVALUATION_SPEEDUP / rate)
        for task, passes in zip(trainings, _passes(trainings), strict=True)
    ]
    seconds = 60 * minutes - (time.monotonic() - started)
    fewest = FEWEST_BATCHES * max(task.config.batch_size for task in trainings)
    if (needed := _end(runs, jobs, fewest)) > seconds:
        raise ConfigError(
            f"minutes {minutes:g} is too short for {len(runs)} runs, which take about {needed / 60:.0f} minutes with {fewest:,} "
            "images each, the least number that is tried. Give more --minutes, fewer --seeds, or the number of --images."
        )
    images = max(n for n in (fewest, *ROUND) if n == fewest or (n > fewest and _end(runs, jobs, n) <= seconds))
    speeds = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    listener.say(f"images per second of a run, {jobs} at a time: {speeds}")
    listener.say(
        f"{images:,} images per run: all runs take about {_end(runs, jobs, images) / 60:.0f} of the {minutes:g} minutes"
    )
    return {"images_per_run": images, "minutes": minutes, "images_per_second": rates}


def _measure(trainings: list[Task], source: ImageSource, jobs: int) -> dict[str, float]:
    """Expected images per second of a run of each variant, while the other jobs run too."""
    on_cpu = choose_device(trainings[0].config.device).type == "cpu"
    share = min(1.0, (num_cores() if on_cpu else 1) / jobs)
    rates: dict[str, float] = {}
    threads = torch.get_num_threads()
    if jobs > 1:
        torch.set_num_threads(max(1, num_cores() // jobs))
    try:
        for task in trainings:
            if task.variant and task.variant not in rates:
                speed = estimate(source, task.asked, epochs_are_final=False)
                rate = SUSTAINED_SPEED * share * speed.trained_per_second
                rates[task.variant] = rate if speed.is_resident else min(rate, speed.decoded_per_second / jobs)
    finally:
        torch.set_num_threads(threads)
    return rates


def _end(runs: list[_Run], jobs: int, images: int) -> float:
    """Seconds until all runs have finished; each starts as soon as one of the `jobs` is free."""
    free = [0.0] * jobs
    for run in runs:
        heapq.heapreplace(free, free[0] + run.passes * images / run.images_per_second + run.other_seconds)
    return max(free)
