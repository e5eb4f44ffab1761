"""Resolution of settings: values that depend on the data and on the initial weights are filled in."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from byol.assembly.cautions import cautions
from byol.assembly.starts import channels_of_start, network_of_start, starts_elsewhere
from byol.config import Config, EncoderConfig, OptimizerConfig, ViewsConfig, differences, replaced
from byol.data.profile import DataProfile
from byol.encoder.encoder_file import read_description
from byol.engine.schedule import Schedule
from byol.errors import ConfigError
from byol.nets.encoder import SMALL_IMAGE, Stem, choose_stem, pretrained_normalization, takes_any_size
from byol.optim.schedules import total_steps
from byol.recipes.recipe import Recipe
from byol.runtime.words import counted
from byol.views.evaluation import CENTRE
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD

STORED_SIDE, STORED_SCALE = 288, 1.25
"""Short side of stored photos in pixels, and its smallest ratio to the largest view. Evaluation crops 7/8 of the short side, so
that views of 224 px are not enlarged. One value for most view sizes lets all trainings share one store."""

MOST_VIEW, WEIGHTS_VIEW = 128, 224
"""Largest view size in pixels that is chosen from the images, for random initial weights and for trained ones (docs/trials.md)."""
ENCODED_SCALE, ENCODED_STEP, ENCODED_FROM = 1.25, 32, 96
"""Ratio of the encoder's view after training to the training's views; its multiple in pixels, the stride of a ResNet; and the
smallest view size in pixels for which it is larger (docs/trials.md)."""


@dataclass(frozen=True)
class Asked:
    """A training as the user asked for it, before its settings are resolved."""

    config: Config
    recipe: Recipe
    given: frozenset[str] = frozenset()
    """Dotted names of the settings that the user gave. They are never replaced."""

    @property
    def adapts_batch(self) -> bool:
        """Whether the batch may be reduced for few images: the recipe allows it and the user gave no batch size."""
        is_recipes = self.config.batch_size == self.recipe.config.batch_size
        return self.recipe.adapts_batch and is_recipes and "batch_size" not in self.given

    @property
    def cuts_warmup(self) -> bool:
        """Whether the warm-up may be shortened to a tenth of the steps: epochs differ from the recipe's and the user gave no warm-up."""
        return self.config.epochs != self.recipe.config.epochs and "optimizer.warmup_epochs" not in self.given


@dataclass(frozen=True)
class Resolved:
    """A training with all its settings resolved."""

    config: Config
    schedule: Schedule
    notes: list[str]
    """One line per setting that the data decided."""
    cautions: list[str]
    """Warnings about the training and settings that the initial weights replaced, one line each."""


def resolve(
    asked: Asked,
    profile: DataProfile,
    num_images: int,
    *,
    num_ranks: int = 1,
    trial: Config | None = None,
    epochs_are_final: bool = True,
) -> Resolved:
    """Resolves the sizes, normalization, batch and warm-up of a training on `num_images` images.

    `trial`: a config to resolve in place of the asked one. `epochs_are_final`: False if the number of epochs will change;
    the warm-up may then always be shortened. Raises ConfigError if the result cannot train, RunError if encoder.init is
    not the folder of an encoder.
    """
    notes: list[str] = []
    warnings: list[str] = []
    config = _fit_to_weights(asked.config if trial is None else trial, asked, warnings)
    if rule := channels_of_start(config.encoder, profile.channels):
        warnings.append(rule)
        notes.append(rule)
    views = _fit_views(config, profile, notes, warnings)
    encoder = dataclasses.replace(config.encoder, stem=_stem(config.encoder, views.size))
    asymmetry = config.asymmetry
    if asymmetry.small_size == 0:
        asymmetry = dataclasses.replace(asymmetry, small_size=max(8, views.size // 2))
    if asymmetry.strong_augmentation != "none" and profile.channels != 3:
        raise ConfigError(
            f"asymmetry.strong_augmentation needs RGB images; these have {counted(profile.channels, 'channel')}. Remove this setting."
        )
    batch_size = _fit_batch(config, num_images, asked.adapts_batch, notes)
    micro_batch_size = _fit_micro_batch(config, batch_size, num_ranks)
    optimizer = _fit_warmup(config, batch_size, num_images, asked.cuts_warmup or not epochs_are_final, notes)
    config = dataclasses.replace(
        config,
        encoder=encoder,
        views=views,
        optimizer=optimizer,
        asymmetry=asymmetry,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
    )
    schedule = build_schedule(config, num_images)
    warnings += cautions(config, asked.recipe, asked.given, schedule, num_ranks)
    return Resolved(config, schedule, notes, warnings)


def build_schedule(config: Config, num_images: int) -> Schedule:
    """The learning-rate and tau schedule of a resolved config."""
    return Schedule(
        base_learning_rate=config.optimizer.base_learning_rate,
        batch_size=config.batch_size,
        total_steps=total_steps(config.epochs, num_images, config.batch_size),
        warmup_steps=total_steps(config.optimizer.warmup_epochs, num_images, config.batch_size),
        tau_base=config.method.tau_base,
        tau_constant=config.method.tau_schedule == "constant",
        tau_reference_batch=config.method.tau_reference_batch,
    )


def _fit_to_weights(config: Config, asked: Asked, warnings: list[str]) -> Config:
    """The config with the architecture of encoder.init, and with the recipe's settings for weights trained elsewhere."""
    for settings, why in (
        (network_of_start(config.encoder), f"architecture of the encoder in {config.encoder.init}"),
        (
            asked.recipe.with_weights if starts_elsewhere(config.encoder) else {},
            "to preserve the pretrained weights (settings you give are not replaced; docs/adapt.md)",
        ),
    ):
        before = config
        config = replaced(config, {name: value for name, value in settings.items() if name not in asked.given})
        if changed := differences(before, config):
            warnings.append(f"{why}: {'; '.join(changed)}")
    return config


def _fit_views(config: Config, profile: DataProfile, notes: list[str], warnings: list[str]) -> ViewsConfig:
    views = config.views
    if views.size == 0:
        most = WEIGHTS_VIEW if config.encoder.has_weights else MOST_VIEW
        views = dataclasses.replace(views, size=max(8, min(most, profile.short_side)))
        notes.append(f"views of {views.size} px, chosen from the images (median short side {profile.short_side} px)")
    elif views.size <= SMALL_IMAGE and profile.short_side >= 4 * views.size:
        warnings.append(
            f"views of {views.size} px lose most detail of images of {profile.short_side} px; --views.size 0 chooses a suitable size"
        )
    if views.stored_side == -1:
        largest = max(views.size, views.encoded_size)
        views = dataclasses.replace(views, stored_side=max(STORED_SIDE, round(STORED_SCALE * largest)))
    elif 0 < views.stored_side < views.size:
        raise ConfigError(
            f"views.stored_side is {views.stored_side}, but views have {views.size} px. Set it to at least {views.size}, or to -1."
        )
    if views.encoded_size == -1:
        side = min(profile.short_side, views.stored_side or profile.short_side)
        views = dataclasses.replace(views, encoded_size=_encoded_size(config.encoder.name, views.size, side))
    if not views.mean:
        mean, std, note = _normalization(config.encoder, profile)
        views = dataclasses.replace(views, mean=mean, std=std)
        notes += [note] if note else []
    if len(views.mean) not in (1, profile.channels):
        raise ConfigError(
            f"views.mean has {len(views.mean)} values, but the images have {counted(profile.channels, 'channel')}. Give one value per channel."
        )
    return views


def _encoded_size(encoder: str, size: int, short_side: int) -> int:
    """Side of the encoder's view in pixels (`views.encoded_size` -1), for images with this short side."""
    if size < ENCODED_FROM or not takes_any_size(encoder):
        return size
    wanted, most = round(ENCODED_SCALE * size / ENCODED_STEP), int(CENTRE * short_side) // ENCODED_STEP
    return max(size, ENCODED_STEP * min(wanted, most))


def _fit_batch(config: Config, num_images: int, adapts: bool, notes: list[str]) -> int:
    batch_size = config.batch_size
    if adapts:
        batch_size = min(batch_size, 2 ** int(np.log2(num_images / 4)))
        notes.append(
            f"batch of {batch_size}: the recipe's {config.batch_size}, or the largest power of two up to a quarter of the images if that is smaller"
        )
    if batch_size > num_images:
        raise ConfigError(
            f"batch_size is {batch_size}, but there are only {num_images} images. Set --batch-size to at most {num_images}, for example {2 ** int(np.log2(num_images / 4))}."
        )
    return batch_size


def _fit_micro_batch(config: Config, batch_size: int, num_ranks: int) -> int:
    if batch_size < num_ranks:
        raise ConfigError(
            f"{num_ranks} ranks cannot share a batch of {batch_size}. Start fewer ranks, or set a larger --batch-size."
        )
    micro = config.micro_batch_size or batch_size // num_ranks
    if batch_size % (micro * num_ranks):
        ranks = f" on {num_ranks} ranks" if num_ranks > 1 else ""
        raise ConfigError(
            f"micro_batch_size {micro}{ranks} does not divide the batch of {batch_size}. Choose a divisor."
        )
    num_fitted = 2 * micro * num_ranks
    if config.heads.predictor == "least-squares" and num_fitted <= config.heads.projector_output:
        raise ConfigError(
            f"A least-squares predictor fits {num_fitted} projections of {config.heads.projector_output} dimensions exactly, so nothing is left to learn. Set --heads.projector-output below {num_fitted}, or a larger batch."
        )
    return micro


def _fit_warmup(config: Config, batch_size: int, num_images: int, cuts: bool, notes: list[str]) -> OptimizerConfig:
    total = total_steps(config.epochs, num_images, batch_size)
    if total < 1:
        raise ConfigError(
            f"{config.epochs:g} epochs of {num_images} images are less than one batch of {batch_size}. Raise --epochs or lower --batch-size."
        )
    warmup = total_steps(config.optimizer.warmup_epochs, num_images, batch_size)
    if cuts and warmup > total // 10:
        notes.append(f"warm-up of {counted(total // 10, 'step')} in place of {warmup}: a tenth of the {total} steps")
        return dataclasses.replace(config.optimizer, warmup_epochs=(total // 10) * batch_size / num_images)
    if warmup >= total:
        raise ConfigError(
            f"The warm-up of {warmup} steps is not shorter than the whole training of {total} steps. Set a smaller --optimizer.warmup-epochs."
        )
    return config.optimizer


def _stem(encoder: EncoderConfig, size: int) -> Stem:
    """The stem: that of the initial weights if they are trained ones, else chosen by the view size."""
    if encoder.init and encoder.stem == "auto":
        start = read_description(encoder.init)
        return choose_stem(start.settings.get("stem", "auto"), start.image_size)
    return choose_stem(encoder.stem, size, pretrained=encoder.pretrained)


def _normalization(encoder: EncoderConfig, profile: DataProfile) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """(mean, std, note): as the initial weights expect, else ImageNet's, else measured. The note is empty for ImageNet's."""
    if encoder.init:
        start = read_description(encoder.init)
        if len(start.mean) in (1, profile.channels):
            return (
                start.mean,
                start.std,
                f"mean {start.mean} and std {start.std}, as for the encoder in {encoder.init}",
            )
    if profile.channels != 3:
        left_out = "saturation, hue and grayscale do not apply"
        return (
            profile.mean,
            profile.std,
            f"mean {profile.mean} and std {profile.std} measured on the images ({counted(profile.channels, 'channel')}); {left_out}",
        )
    known = pretrained_normalization(encoder.name) if encoder.pretrained else None
    if known and known != (IMAGENET_MEAN, IMAGENET_STD):
        return *known, f"mean {known[0]} and std {known[1]}, as for timm's weights of {encoder.name}"
    return IMAGENET_MEAN, IMAGENET_STD, ""
