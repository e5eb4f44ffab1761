"""Plan of a training that takes a given time (`--minutes`, or an hour): a short speed test decides its size and number of steps."""

import dataclasses
import time
from dataclasses import dataclass
from math import inf

from byol.assembly.settings import Asked, build_schedule, resolve
from byol.assembly.views import by_view_size
from byol.config import Config, replaced
from byol.data.profile import DataProfile
from byol.data.resident import fits_memory
from byol.data.source import ImageSource, SkippedImages
from byol.errors import ConfigError
from byol.nets.encoder import takes_any_size
from byol.recipes.recipe import Size
from byol.runtime.hardware import choose_device
from byol.runtime.ranks import Ranks
from byol.training.speed import decode_some, images_per_second, train_a_little

END_SECONDS = 9.0
"""Seconds reserved for writing the last checkpoint, the encoder and the report."""
FEWEST_STEPS = 40
"""Smallest number of steps that is planned."""
DEFAULT_MINUTES = 60.0
"""Time limit in minutes, if the user gave neither minutes nor epochs."""
EPOCHS_FROM_WEIGHTS = 30.0
"""Largest number of epochs of a training from trained weights, if the user gave neither minutes nor epochs (docs/trials.md)."""


@dataclass(frozen=True)
class TimeLimit:
    """Time limit of a training, from the command to its report."""

    minutes: float
    start_time: float
    """Time of the command, by time.monotonic()."""
    most_epochs: float | None = None
    """Largest number of epochs, even if there is time for more."""

    def __post_init__(self) -> None:
        minutes = self.minutes
        if not (isinstance(minutes, int | float) and 0 < minutes < float("inf")):
            raise ConfigError(f"minutes must be a number above 0; found {minutes}.")

    @property
    def deadline(self) -> float:
        """Time at which the last step should end, by time.monotonic()."""
        return self.start_time + max(60 * self.minutes - END_SECONDS, 30 * self.minutes)


def default_limit(asked: Asked, start_time: float) -> TimeLimit | None:
    """The limit of a training for which the user gave neither minutes nor epochs: an hour, or the recipe's epochs if they take less.

    None if epochs are given, or if the recipe is a published one, which has no sizes.
    """
    if not asked.recipe.sizes or "epochs" in asked.given:
        return None
    epochs = EPOCHS_FROM_WEIGHTS if asked.config.encoder.has_weights else asked.config.epochs
    return TimeLimit(DEFAULT_MINUTES, start_time, epochs)


@dataclass(frozen=True)
class Plan:
    """A training that fits a time limit."""

    config: Config
    """Settings with the chosen size and number of epochs."""
    deadline: float
    """Time at which the last step should end, by time.monotonic()."""
    notes: list[str]
    """One line per size that was tested."""
    most_steps: int | None = None
    """Number of steps that the limit's `most_epochs` take."""
    num_images: int = 0
    """Number of images trained on, over all passes."""
    stage_costs: tuple[float, ...] = (1.0,)
    """Seconds per step measured by the speed test, one value per stage of equal length."""


@dataclass(frozen=True)
class _Trial:
    """A size of the recipe, and the result of its speed test."""

    size: Size
    config: Config
    batch_size: int
    costs: tuple[float, ...]
    """Seconds per image, one value per stage of equal length."""
    steps: int
    """Number of steps that fit into the time."""

    @property
    def images_per_second(self) -> float:
        return len(self.costs) / sum(self.costs)


def require_no_epochs(limit: TimeLimit, asked: Asked) -> None:
    """Raises ConfigError if epochs are given beside a time limit."""
    if "epochs" in asked.given:
        raise ConfigError(
            f"Minutes ({limit.minutes:g}) and epochs ({asked.config.epochs:g}) are both given. Give only one of them."
        )


def plan_by_time(
    limit: TimeLimit,
    asked: Asked,
    source: ImageSource,
    profile: DataProfile,
    ranks: Ranks,
    *,
    decodes_once: bool = False,
) -> Plan:
    """The plan with the first of the recipe's sizes that trains on enough images within the `limit`.

    `decodes_once`: whether the training will store the photos first. All ranks run the speed test together and use the result of the first. Raises ConfigError if the time is too short
    for every size, or if epochs are given, too.
    """
    require_no_epochs(limit, asked)
    config = asked.config

    def resolved_trial(trial: Config) -> Config:
        return resolve(asked, profile, len(source), num_ranks=ranks.size, trial=trial, epochs_are_final=False).config

    images, decoded_per_second = decode_some(source, profile.channels, resolved_trial(config), SkippedImages())
    decoded_per_second *= ranks.size  # all ranks decode at the same time
    in_memory = decodes_once or fits_memory(source, images)  # then they are decoded before the training
    most_images = (limit.most_epochs or inf) * len(source)
    trials: list[_Trial] = []
    rates: dict[Config, float] = {}
    for size, size_config in _sizes(asked):
        resolved = resolved_trial(size_config)
        device = ranks.device(choose_device(config.device))
        parts = by_view_size(resolved)
        for part in parts:
            if part not in rates:
                rates[part] = ranks.size * train_a_little(part, images, profile.channels, device, ranks.size)[0]
        costs = tuple(
            1 / images_per_second(rates[part], decoded_per_second, source, resolved, device, in_memory=in_memory)
            for part in parts
        )
        remaining = limit.deadline - time.monotonic() - (len(source) / decoded_per_second if in_memory else 0.0)
        trial = _Trial(size, size_config, resolved.batch_size, costs, 0)
        steps = max(0, int(remaining * trial.images_per_second / resolved.batch_size))
        trials.append(ranks.from_first(dataclasses.replace(trial, steps=steps)))
        if min(trials[-1].steps * trials[-1].batch_size, most_images) >= size.least_images:
            break
    best = trials[-1]
    if best.steps < FEWEST_STEPS:
        raise _too_few_minutes(limit, best)
    epochs = best.steps * best.batch_size / len(source)
    notes = [_note(trial, len(source), trial is best) for trial in trials]
    most_steps = None
    if limit.most_epochs is not None:
        most = dataclasses.replace(best.config, batch_size=best.batch_size, epochs=limit.most_epochs)
        most_steps = build_schedule(most, len(source)).total_steps
        if most_steps <= best.steps:
            epochs = limit.most_epochs
            notes[-1] = (
                f"{_measured(best, len(source))}: enough for {epochs:g} epochs, {most_steps:,} steps of {best.batch_size}"
            )
    costs = tuple(cost * best.batch_size for cost in best.costs)
    num_images = min(best.steps, most_steps or best.steps) * best.batch_size
    return Plan(dataclasses.replace(best.config, epochs=epochs), limit.deadline, notes, most_steps, num_images, costs)


def _too_few_minutes(limit: TimeLimit, smallest: _Trial) -> ConfigError:
    """The error for a limit in which even the smallest size cannot make `FEWEST_STEPS` steps."""
    needed = FEWEST_STEPS * smallest.batch_size / smallest.images_per_second
    spent = 60 * limit.minutes - (limit.deadline - time.monotonic())
    return ConfigError(
        f"{60 * limit.minutes:.0f} seconds are too few: start, speed test and report take {spent:.0f} seconds, and the smallest "
        f"training, {FEWEST_STEPS} steps of {smallest.batch_size} images, takes {needed:.0f} seconds at "
        f"{smallest.images_per_second:.3g} images/s. Give more minutes, or a smaller --encoder.width, --views.size or --batch-size."
    )


def _sizes(asked: Asked) -> list[tuple[Size, Config]]:
    """The recipe's sizes that can be chosen, each with its config.

    Settings the user gave are never replaced. Giving an encoder also fixes its width; giving a method fixes everything but
    the encoder; giving pretrained weights fixes everything, since the sizes are for trainings from random weights. An encoder
    that takes only one image size gets no small crops. Sizes that differ only in fixed settings count as one.
    """
    given, sizes = set(asked.given), asked.recipe.sizes
    size_settings = {name for size in sizes for name in size.settings}
    if given & {"encoder.pretrained", "encoder.init"}:
        given |= size_settings
    if "encoder.name" in given:
        given |= {name for name in size_settings if name.startswith("encoder.")}
    if "method.name" in given:
        given |= {name for name in size_settings if not name.startswith("encoder.")}
    if not takes_any_size(asked.config.encoder.name):
        given |= {name for name in size_settings if name.startswith("asymmetry.")}
    candidates: list[tuple[Size, Config]] = []
    for size in sizes or (Size("measured"),):
        settings = {name: value for name, value in size.settings.items() if name not in given}
        config = replaced(asked.config, settings)
        if candidates and candidates[-1][1] == config:
            candidates[-1] = (Size("as asked", least_images=size.least_images), config)
        else:
            candidates.append((size, config))
    return candidates


def _measured(trial: _Trial, num_images: int) -> str:
    passes = trial.steps * trial.batch_size / num_images
    return f"{trial.size.name}: {_short(trial.images_per_second)} images/s, {_short(passes)} passes over the images fit into the time"


def _note(trial: _Trial, num_images: int, is_chosen: bool) -> str:
    if is_chosen:
        return f"{_measured(trial, num_images)}: {trial.steps:,} steps of {trial.batch_size}"
    return f"{_measured(trial, num_images)}; this size needs at least {_short(trial.size.least_images / num_images)}"


def _short(value: float) -> str:
    """The number as text: three digits below 100, else no decimals."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
