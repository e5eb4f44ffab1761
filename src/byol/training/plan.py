"""Plan of a training that takes a given time (`--minutes`, or an hour): a short speed test decides its size and number of steps."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from byol.assembly.networks import method_parts
from byol.assembly.settings import Asked, build_schedule, resolve
from byol.assembly.views import by_view_size
from byol.config import Config, replaced
from byol.data.profile import DataProfile
from byol.data.resident import fits_memory
from byol.data.source import ImageSource, SkippedImages
from byol.errors import ConfigError
from byol.nets.encoder import RESNETS, takes_any_size
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
    is_largest: bool = True
    """Whether the recipe has no larger size for these images."""
    stage_costs: tuple[float, ...] = (1.0,)
    """Seconds per step measured by the speed test, one value per stage of equal length."""


@dataclass(frozen=True)
class _Trial:
    """A size of the recipe, and the result of its speed test."""

    size: Size
    config: Config
    name: str
    batch_size: int
    costs: tuple[float, ...]
    """Seconds per image, one value per stage of equal length."""
    seconds: float
    """Time left for the training."""

    @property
    def images_per_second(self) -> float:
        return len(self.costs) / sum(self.costs)

    @property
    def steps(self) -> int:
        """Number of steps that fit into the time."""
        return max(0, int(self.seconds * self.images_per_second / self.batch_size))

    @property
    def num_images(self) -> int:
        """Number of images that can be trained on, over all passes."""
        return self.steps * self.batch_size


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
    """The plan with the largest of the recipe's sizes that trains on enough images within the `limit`.

    The sizes are tested from the smallest up, until one has too little time for the next larger one, which is slower.
    `decodes_once`: whether the training will store the photos first. All ranks run the speed test together and use the
    result of the first. Raises ConfigError if the time is too short for every size, or if epochs are given, too.
    """
    require_no_epochs(limit, asked)
    sizes = _sizes(asked, profile)
    trials = _speed_tests(limit, asked, sizes, source, profile, ranks, decodes_once=decodes_once)
    most_images = (limit.most_epochs or inf) * len(source)
    enough = [trial for trial in trials if min(trial.num_images, most_images) >= trial.size.least_images]
    best = dataclasses.replace((enough or trials)[-1], seconds=trials[-1].seconds)
    if best.steps < FEWEST_STEPS:
        raise _too_few_minutes(limit, best)
    epochs = best.steps * best.batch_size / len(source)
    chosen = f"{_measured(best, len(source))}: {best.steps:,} steps of {best.batch_size}"
    most_steps = None
    if limit.most_epochs is not None:
        most = dataclasses.replace(best.config, batch_size=best.batch_size, epochs=limit.most_epochs)
        most_steps = build_schedule(most, len(source)).total_steps
        if most_steps <= best.steps:
            epochs = limit.most_epochs
            chosen = f"{_measured(best, len(source))}: enough for {epochs:g} epochs, {most_steps:,} steps of {best.batch_size}"
    others = [_note(trial, len(source)) for trial in trials if trial.size != best.size]
    costs = tuple(cost * best.batch_size for cost in best.costs)
    num_images = min(best.steps, most_steps or best.steps) * best.batch_size
    config = dataclasses.replace(best.config, epochs=epochs)
    is_largest = best.size == sizes[0][0]
    return Plan(config, limit.deadline, [*others, chosen], most_steps, num_images, is_largest, costs)


def _speed_tests(
    limit: TimeLimit,
    asked: Asked,
    sizes: list[tuple[Size, Config]],
    source: ImageSource,
    profile: DataProfile,
    ranks: Ranks,
    *,
    decodes_once: bool,
) -> list[_Trial]:
    """One trial per size from the smallest up, until one has too little time for the next larger one, which is slower."""

    def resolved_trial(trial: Config) -> Config:
        return resolve(asked, profile, len(source), num_ranks=ranks.size, trial=trial, epochs_are_final=False).config

    images, decoded_per_second = decode_some(source, profile.channels, resolved_trial(asked.config), SkippedImages())
    decoded_per_second *= ranks.size  # all ranks decode at the same time
    in_memory = decodes_once or fits_memory(source, images)  # then they are decoded before the training
    decoding = len(source) / decoded_per_second if in_memory else 0.0
    device = ranks.device(choose_device(asked.config.device))
    most_images = (limit.most_epochs or inf) * len(source)
    trials: list[_Trial] = []
    rates: dict[Config, float] = {}
    for (size, config), (larger, _) in zip(reversed(sizes), [*reversed(sizes[:-1]), (None, None)], strict=True):
        resolved = resolved_trial(config)
        parts = by_view_size(resolved)
        for part in parts:
            if part not in rates:
                rates[part] = ranks.size * train_a_little(part, images, profile.channels, device, ranks.size)[0]
        costs = tuple(
            1 / images_per_second(rates[part], decoded_per_second, source, resolved, device, in_memory=in_memory)
            for part in parts
        )
        seconds = limit.deadline - time.monotonic() - decoding
        trials.append(ranks.from_first(_Trial(size, config, _name(parts), resolved.batch_size, costs, seconds)))
        if larger is None or min(trials[-1].num_images, most_images) < larger.least_images:
            break
    return trials


def _too_few_minutes(limit: TimeLimit, smallest: _Trial) -> ConfigError:
    """The error for a limit in which even the smallest size cannot make `FEWEST_STEPS` steps."""
    needed = FEWEST_STEPS * smallest.batch_size / smallest.images_per_second
    spent = 60 * limit.minutes - (limit.deadline - time.monotonic())
    minutes = ceil((spent + needed) / 60)
    return ConfigError(
        f"{60 * limit.minutes:.0f} seconds are too few: start, speed test and report take {spent:.0f} seconds, and the smallest "
        f"training, {FEWEST_STEPS} steps of {smallest.batch_size} images, takes {needed:.0f} seconds at "
        f"{smallest.images_per_second:.3g} images/s. Give --minutes {minutes} or more, wait until other "
        "processes leave the cores free, or give a smaller --encoder.width, --views.size or --batch-size."
    )


def _sizes(asked: Asked, profile: DataProfile) -> list[tuple[Size, Config]]:
    """The recipe's sizes that can be chosen for these images, from large to small, each with its config.

    Settings the user gave are never replaced. Giving an encoder also fixes its width; giving a method or a teacher fixes everything but
    the encoder; giving pretrained weights fixes everything, since the sizes are for trainings from random weights. An encoder
    that takes only one image size gets neither small crops nor growing views. Sizes that differ only in fixed settings count as one.
    """
    given = set(asked.given)
    view_size = asked.config.views.size or profile.short_side
    sizes = [size for size in asked.recipe.sizes if view_size <= size.largest_view]
    size_settings = {name for size in sizes for name in size.settings}
    if given & {"encoder.pretrained", "encoder.init"}:
        given |= size_settings
    if "encoder.name" in given:
        given |= {name for name in size_settings if name.startswith("encoder.")}
    if given & {"method.name", "method.teacher"}:
        given |= {name for name in size_settings if not name.startswith("encoder.")}
    if not takes_any_size(asked.config.encoder.name):
        given |= {name for name in size_settings if name.startswith(("asymmetry.", "views.growth"))}
    candidates: list[tuple[Size, Config]] = []
    for size in sizes or (Size(),):
        settings = {name: value for name, value in size.settings.items() if name not in given}
        config = replaced(asked.config, settings)
        if candidates and candidates[-1][1] == config:
            candidates[-1] = (size, config)
        else:
            candidates.append((size, config))
    return candidates


def _name(parts: Sequence[Config]) -> str:
    """Method, encoder and views of a size with these stages."""
    last = parts[-1]
    encoder = last.encoder.name
    if encoder in RESNETS and not last.encoder.pretrained:
        width = f" of width {round(64 * last.encoder.width)}" if last.encoder.width != 1 else ""
        encoder = f"ResNet-{RESNETS[encoder]}{width}"
    views = ", then ".join(f"{part.views.size}" for part in parts)
    return f"{method_parts(last).title}, {encoder}, views of {views} px"


def _measured(trial: _Trial, num_images: int) -> str:
    passes = trial.steps * trial.batch_size / num_images
    return f"{trial.name}: {_short(trial.images_per_second)} images/s, {_short(passes)} passes over the images fit into the time"


def _note(trial: _Trial, num_images: int) -> str:
    least = trial.size.least_images
    needs = f"; this size needs at least {_short(least / num_images)}" if trial.num_images < least else ""
    return _measured(trial, num_images) + needs


def _short(value: float) -> str:
    """The number as text: three digits below 100, else no decimals."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
