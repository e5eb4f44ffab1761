"""What can be trained in a given time: sizes and number of steps, from a short speed test (`--minutes`)."""

import dataclasses
import time
from dataclasses import dataclass

from byol.build.settings import Asked, build_schedule, resolve
from byol.build.views import by_view_size
from byol.config import Config, replaced
from byol.data.open import DataProfile
from byol.data.resident import MEMORY_LIMIT_BYTES
from byol.data.source import ImageSource, SkippedImages
from byol.errors import ConfigError
from byol.recipes.recipe import Size
from byol.runtime.hardware import choose_device
from byol.runtime.ranks import Ranks
from byol.training.speed import are_equal, decode_some, train_a_little

END_SECONDS = 6.0
"""For the last checkpoint, the encoder and the report."""
SLOWING = 0.03
"""Of the time, kept back: a machine that trains for an hour gets slower, and the number of steps is corrected only early on."""
FEWEST_STEPS = 40


@dataclass(frozen=True)
class TimeLimit:
    """What a training may take, from the command to its report."""

    minutes: float
    began: float
    """By time.monotonic()."""
    most_epochs: float | None = None
    """Where these take less than the time, there are no more."""

    def __post_init__(self) -> None:
        minutes = self.minutes
        if not (isinstance(minutes, int | float) and 0 < minutes < float("inf")):
            raise ConfigError(f"minutes must be a number above 0; found {minutes}.")


@dataclass(frozen=True)
class Plan:
    """A training that fits a time."""

    config: Config
    """With the sizes and the epochs set."""
    deadline: float
    """By time.monotonic(), when the last step is to end."""
    notes: list[str]
    most_steps: int | None = None
    """Those of the limit's most epochs."""
    tested: tuple[float, ...] = (0.0,)
    """Seconds of a step in each equal part of the training."""


@dataclass(frozen=True)
class _Trial:
    """A size, and how far it would get."""

    size: Size
    config: Config
    batch_size: int
    costs: tuple[float, ...]
    """Seconds per image, in each equal part of the training."""
    steps: int

    @property
    def images_per_second(self) -> float:
        return len(self.costs) / sum(self.costs)


def plan_by_time(limit: TimeLimit, asked: Asked, source: ImageSource, seen: DataProfile, ranks: Ranks) -> Plan:
    """The largest of the recipe's sizes that trains on enough images in the `limit`.

    All ranks measure at once, and do what the first one found. Raises
    ConfigError where the time is too short for anything.
    """
    minutes, config = limit.minutes, asked.config
    if "epochs" in asked.given:
        raise ConfigError(f"Both minutes ({minutes:g}) and epochs ({config.epochs:g}) are given; give one of them.")
    deadline = limit.began + 60 * minutes * (1 - SLOWING) - END_SECONDS

    def resolved_trial(trial: Config) -> Config:
        resolved = resolve(asked, seen, len(source), num_ranks=ranks.size, trial=trial, epochs_are_final=False)
        return resolved.config

    images, decoded_per_second = decode_some(source, seen.channels, resolved_trial(config), SkippedImages())
    decoded_per_second *= ranks.size  # all of them decode at the same time
    kept = (
        are_equal(images) and images[0].nbytes * len(source) <= MEMORY_LIMIT_BYTES
    )  # decoded once, before the training
    tried: list[_Trial] = []
    rates: dict[Config, float] = {}
    for size, fitting in _sizes(asked):
        resolved = resolved_trial(fitting)
        device = ranks.device(choose_device(config.device))
        parts = by_view_size(resolved)
        for part in parts:
            if part not in rates:
                rates[part] = ranks.size * train_a_little(part, images, seen.channels, device, ranks.size)[0]
        costs = tuple(1 / (rates[part] if kept else min(rates[part], decoded_per_second)) for part in parts)
        remaining = deadline - time.monotonic() - (len(source) / decoded_per_second if kept else 0.0)
        trial = _Trial(size, fitting, resolved.batch_size, costs, 0)
        steps = max(0, int(remaining * trial.images_per_second / resolved.batch_size))
        tried.append(ranks.from_first(dataclasses.replace(trial, steps=steps)))
        if tried[-1].steps * tried[-1].batch_size >= size.least_images:
            break
    best = tried[-1]
    if best.steps < FEWEST_STEPS:
        needed = FEWEST_STEPS * best.batch_size / best.images_per_second
        spent = 60 * minutes - (deadline - time.monotonic())
        raise ConfigError(
            f"{60 * minutes:.0f} seconds are too few: {spent:.0f} go to the start, the speed test and the report, and "
            f"{FEWEST_STEPS} steps of {best.batch_size} images, the least that is tried, take {needed:.0f} at "
            f"{best.images_per_second:.3g} images/s. Give more minutes, or a smaller --encoder.width, --views.size or --batch-size."
        )
    epochs = best.steps * best.batch_size / len(source)
    notes = [_told(trial, len(source), trial is best) for trial in tried]
    most_steps = None
    if limit.most_epochs is not None:
        most = dataclasses.replace(best.config, batch_size=best.batch_size, epochs=limit.most_epochs)
        most_steps = build_schedule(most, len(source)).total_steps
        if most_steps <= best.steps:
            epochs = limit.most_epochs
            notes[-1] = (
                f"{_measured(best, len(source))}: the {epochs:g} asked for, {most_steps:,} steps of {best.batch_size}"
            )
    tested = tuple(cost * best.batch_size for cost in best.costs)
    return Plan(dataclasses.replace(best.config, epochs=epochs), deadline, notes, most_steps, tested)


def _sizes(asked: Asked) -> list[tuple[Size, Config]]:
    """The recipe's sizes and their configs, each once: those that differ in settings of the user's are one.

    Whoever names an encoder has chosen its width, too; who names a method, all but the encoder; who names weights to
    start from, everything: the other sizes are of trainings that begin from nothing.
    """
    given, sizes = set(asked.given), asked.recipe.sizes
    sized = {name for size in sizes for name in size.settings}
    if given & {"encoder.pretrained", "encoder.init"}:
        given |= sized
    if "encoder.name" in given:
        given |= {name for name in sized if name.startswith("encoder.")}
    if "method.name" in given:
        given |= {name for name in sized if not name.startswith("encoder.")}
    found: list[tuple[Size, Config]] = []
    for size in sizes or (Size("measured"),):
        settings = {name: value for name, value in size.settings.items() if name not in given}
        fitting = replaced(asked.config, settings)
        if found and found[-1][1] == fitting:
            found[-1] = (Size("as asked", least_images=size.least_images), fitting)
        else:
            found.append((size, fitting))
    return found


def _measured(trial: _Trial, num_images: int) -> str:
    passes = trial.steps * trial.batch_size / num_images
    return f"{trial.size.name}: {_short(trial.images_per_second)} images/s, {_short(passes)} passes over the images in the time"


def _told(trial: _Trial, num_images: int, is_chosen: bool) -> str:
    if is_chosen:
        return f"{_measured(trial, num_images)}, so {trial.steps:,} steps of {trial.batch_size}"
    return f"{_measured(trial, num_images)}, too few for it (from {_short(trial.size.least_images / num_images)} on)"


def _short(value: float) -> str:
    """Three digits of what is below 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
