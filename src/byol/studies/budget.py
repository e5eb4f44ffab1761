"""How many images each run of a study sees, so that the whole of it fits a time."""

import math
import time
from pathlib import Path
from typing import Any

import torch

from byol.commands.doctor import estimate
from byol.commands.trainer import Say
from byol.data.source import ImageSource
from byol.errors import ConfigError
from byol.recipes import recipe
from byol.runtime.hardware import num_cores
from byol.runtime.record import read_json
from byol.studies.runs import Task

BUDGET = "budget.json"
TRAINING_SHARE = 0.75
"""Of the time; the rest is for starts, evaluations, and a machine that is slower later."""
STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Times a power of ten: round numbers, so that the same machine finds the same again."""
FEWEST_BATCHES = 40


def budgeted(
    folder: Path,
    tasks: list[Task],
    source: ImageSource,
    *,
    minutes: float | None,
    images: int | None,
    usual_minutes: float | None,
    jobs: int,
    say: Say,
) -> dict[str, Any] | None:
    """The content of budget.json: what is asked for, what the study in `folder` was begun with, or what fits the time.

    None where neither images nor a time is given: the settings' epochs stand. Raises ConfigError where both are, and for impossible values.
    """
    if images is not None:
        if minutes is not None:
            raise ConfigError(f"Both minutes ({minutes:g}) and images ({images}) are given; give one of them.")
        if images < (batch := max(task.config.batch_size for task in tasks)):
            raise ConfigError(f"images must be at least a batch, {batch}; found {images}.")
        return {"images_per_run": images}
    if begun := read_json(folder / BUDGET):
        return begun
    limit = minutes if minutes is not None else usual_minutes
    return None if limit is None else _fit(tasks, source, limit, jobs, say)


def _fit(tasks: list[Task], source: ImageSource, minutes: float, jobs: int, say: Say) -> dict[str, Any]:
    """Measures each variant for some seconds: the images per run with which all runs, `jobs` at a time, end in `minutes`."""
    if not (isinstance(minutes, int | float) and 0 < minutes < math.inf):
        raise ConfigError(f"minutes must be a number above 0; found {minutes}.")
    began = time.monotonic()
    trainings = [task for task in tasks if task.variant is not None]
    rates = _measure(trainings, source, jobs)
    most = max(task.config.epochs for task in trainings)
    seconds_per_image = (
        sum(task.config.epochs / most / rates[task.variant or ""] for task in trainings) / TRAINING_SHARE
    )
    images = _round_down((60 * minutes - (time.monotonic() - began)) / seconds_per_image)
    fewest = FEWEST_BATCHES * max(task.config.batch_size for task in tasks)
    if images < fewest:
        raise ConfigError(
            f"{minutes:g} minutes are too few for {len(trainings)} runs: {fewest:,} images each, the least that is tried, take "
            f"about {fewest * seconds_per_image / 60:.0f}. Give more --minutes, fewer --seeds, or the number of --images yourself."
        )
    say("speed test: " + ", ".join(f"{name} {rate:,.0f} images/s" for name, rate in rates.items()))
    say(
        f"{len(trainings)} runs, about {images * seconds_per_image / 60:.0f} of the {minutes:g} minutes with {images:,} images each"
    )
    return {"images_per_run": images, "minutes": minutes, "images_per_second": rates}


def _measure(trainings: list[Task], source: ImageSource, jobs: int) -> dict[str, float]:
    """Images a second of each variant, over `jobs` runs of it at a time.

    Each micro-batch is counted with a step of the optimizer: somewhat too slow.
    """
    rates: dict[str, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, num_cores() // jobs))
    try:
        for task in trainings:
            if task.variant and task.variant not in rates:
                adapts_batch = recipe(task.recipe).may_adapt_batch(task.config, frozenset())
                found = estimate(source, task.config, adapts_batch=adapts_batch, cuts_warmup=True)
                rates[task.variant] = jobs * found.images_per_second
    finally:
        torch.set_num_threads(threads)
    return rates


def _round_down(images: float) -> int:
    if images < 1:
        return 0
    power = 10.0 ** math.floor(math.log10(images))
    return int(power * max(step for step in STEPS if step * power <= images))
