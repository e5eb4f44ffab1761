"""From a config and a piece of data to the objects that train: views, feed, schedule, state."""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from byol import build_networks
from byol.build_networks import encoder_settings
from byol.config import Config, EncoderConfig, ViewConfig, differences, override
from byol.data.loader import BatchPlan, DecodingFeed, Feed, ResidentFeed
from byol.data.open import DataProfile, profile
from byol.data.resident import load_resident
from byol.data.source import ImageSource, SkippedImages
from byol.engine.state import State
from byol.engine.step import Schedule
from byol.errors import ConfigError, DataError
from byol.export.encoder_file import ELSEWHERE, KEPT_AVERAGES, Encoder, EncoderDescription, read_description
from byol.methods.byol import BYOL
from byol.methods.network import Method
from byol.methods.siamese import PairMethod
from byol.nets.compiled.fused_operators import use_fused_operators
from byol.nets.encoder import SMALL_IMAGE, Stem, choose_stem, find_num_features, pretrained_normalization
from byol.nets.initialization import initialize_from_data as set_from_data
from byol.nets.norm import synchronize_batch_norm
from byol.optim.groups import create_optimizer
from byol.optim.schedules import total_steps
from byol.recipes.recipe import Recipe
from byol.runtime.hardware import choose_channels_last, choose_workers
from byol.runtime.ranks import Ranks
from byol.runtime.view_roles import Roles
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD, ViewPolicy
from byol.views.views import View, Views, pair


def starts_elsewhere(encoder: EncoderConfig) -> bool:
    """Whether it starts from timm's weights, an import, or what was trained on from these with their averages.

    Raises RunError where encoder.init is no encoder's folder.
    """
    if not encoder.init:
        return encoder.pretrained
    start = read_description(encoder.init).provenance
    return start.get("how") == ELSEWHERE or start.get("averages") == KEPT_AVERAGES


def fit_to_weights(config: Config, recipe: Recipe, given: Collection[str]) -> tuple[Config, list[str]]:
    """With the network of encoder.init, with the recipe's settings for weights that were trained elsewhere, and a line for each.

    What the user named (`given`) stays. Raises RunError where encoder.init is no encoder's folder.
    """
    notes: list[str] = []
    for settings, why in (
        (_network_of_start(config.encoder), f"the network of {config.encoder.init}"),
        (
            recipe.with_weights if starts_elsewhere(config.encoder) else {},
            "to keep the weights it starts from (what you name stays; docs/export.md)",
        ),
    ):
        before = config
        config = override(config, {name: value for name, value in settings.items() if name not in given})
        if changed := differences(before, config):
            notes.append(f"{why}: {'; '.join(changed)}")
    return config, notes


def _network_of_start(encoder: EncoderConfig) -> dict[str, Any]:
    """The settings of the network whose weights encoder.init holds; the stem has its own rule (`_stem`)."""
    start = read_description(encoder.init) if encoder.init else None
    if start is None or start.name is None:
        return {}
    known = {"name": start.name, **start.settings}
    kept = {"stem"} if encoder.stem == "auto" else set()
    return {f"encoder.{n}": v for n, v in known.items() if n not in kept and hasattr(encoder, n)}


def fit_to_data(
    config: Config,
    seen: DataProfile,
    num_images: int,
    *,
    adapts_batch: bool,
    cuts_warmup: bool,
    num_ranks: int = 1,
) -> tuple[Config, list[str]]:
    """The config with everything resolved that depends on the data, and one line per value that was found so.

    Raises ConfigError where what results cannot train.
    """
    notes: list[str] = []
    views, optimizer, asymmetry = config.views, config.optimizer, config.asymmetry
    if views.size == 0:
        size = seen.short_side if seen.short_side <= SMALL_IMAGE else min(224, seen.short_side)
        views = dataclasses.replace(views, size=max(8, size))
        notes.append(f"views of {views.size} px, from the images (median short side {seen.short_side} px)")
    elif views.size <= SMALL_IMAGE and seen.short_side >= 4 * views.size:
        notes.append(
            f"views of {views.size} px show little of images of {seen.short_side} px; --views.size 0 takes what suits them"
        )
    encoder = dataclasses.replace(config.encoder, stem=_stem(config.encoder, views.size))
    if asymmetry.small_size == 0:
        asymmetry = dataclasses.replace(asymmetry, small_size=max(8, views.size // 2))
    if not views.mean:
        mean, std, note = _normalization(config.encoder, seen)
        views = dataclasses.replace(views, mean=mean, std=std)
        notes += [note] if note else []
    if len(views.mean) not in (1, seen.channels):
        raise ConfigError(f"views.mean has {len(views.mean)} values, the images have {seen.channels} channels.")
    if asymmetry.strong_augmentation != "none" and seen.channels != 3:
        raise ConfigError(
            f"asymmetry.strong_augmentation needs RGB images; these have {seen.channels} channel{'s' * (seen.channels > 1)}. Leave it out."
        )
    batch_size = config.batch_size
    if adapts_batch:
        batch_size = min(batch_size, 2 ** int(np.log2(num_images / 4)))
        notes.append(
            f"batch of {batch_size} (the smaller of the recipe's {config.batch_size} and the largest power of two up to a quarter of the images)"
        )
    if batch_size > num_images:
        raise ConfigError(
            f"batch_size is {batch_size} but there are only {num_images} images. Set --batch-size to {num_images} or less ({2 ** int(np.log2(num_images / 4))}, say)."
        )
    if batch_size < num_ranks:
        raise ConfigError(f"{num_ranks} ranks cannot share a batch of {batch_size}. Start fewer, or set --batch-size.")
    micro = config.micro_batch_size or batch_size // num_ranks
    if batch_size % (micro * num_ranks):
        ranks = f" on {num_ranks} ranks" if num_ranks > 1 else ""
        raise ConfigError(f"micro_batch_size {micro}{ranks} does not divide the batch of {batch_size}.")
    fitted = 2 * micro * num_ranks
    if config.heads.predictor == "least-squares" and fitted <= config.heads.projector_output:
        raise ConfigError(
            f"A least-squares predictor fits {fitted} projections of {config.heads.projector_output} dimensions exactly: nothing is left to learn. Set --heads.projector-output below {fitted}, or a larger batch."
        )
    total = total_steps(config.epochs, num_images, batch_size)
    if total < 1:
        raise ConfigError(
            f"{config.epochs:g} epochs of {num_images} images are less than one batch of {batch_size}. Raise --epochs or lower --batch-size."
        )
    warmup = total_steps(optimizer.warmup_epochs, num_images, batch_size)
    if cuts_warmup and warmup > total // 10:
        warmup_epochs = (total // 10) * batch_size / num_images
        notes.append(f"warm-up of {total // 10} steps in place of {warmup}, at most a tenth of the {total} steps")
        optimizer = dataclasses.replace(optimizer, warmup_epochs=warmup_epochs)
    elif warmup >= total:
        raise ConfigError(
            f"The warm-up of {warmup} steps is not shorter than the whole training of {total}. Set a smaller --optimizer.warmup-epochs."
        )
    return dataclasses.replace(
        config,
        encoder=encoder,
        views=views,
        optimizer=optimizer,
        asymmetry=asymmetry,
        batch_size=batch_size,
        micro_batch_size=micro,
    ), notes


def _stem(encoder: EncoderConfig, size: int) -> Stem:
    """That of the weights it starts from; else by the size of the views."""
    if encoder.init and encoder.stem == "auto":
        start = read_description(encoder.init)
        return choose_stem(start.settings.get("stem", "auto"), start.image_size)
    return choose_stem(encoder.stem, size, pretrained=encoder.pretrained)


def _normalization(encoder: EncoderConfig, seen: DataProfile) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Mean and std that the weights it starts from expect; else ImageNet's, or measured; and a line if not ImageNet's."""
    if encoder.init:
        start = read_description(encoder.init)
        if len(start.mean) in (1, seen.channels):
            return (
                start.mean,
                start.std,
                f"mean {start.mean} and std {start.std}, those of the encoder in {encoder.init}",
            )
    if seen.channels != 3:
        left_out = "saturation, hue and grayscale are left out"
        return (
            seen.mean,
            seen.std,
            f"mean {seen.mean} and std {seen.std} measured on the images ({seen.channels} channels); {left_out}",
        )
    known = pretrained_normalization(encoder.name) if encoder.pretrained else None
    if known and known != (IMAGENET_MEAN, IMAGENET_STD):
        return *known, f"mean {known[0]} and std {known[1]}, those of timm's weights of {encoder.name}"
    return IMAGENET_MEAN, IMAGENET_STD, ""


def schedule(config: Config, num_images: int) -> Schedule:
    """The schedule of a resolved config."""
    return Schedule(
        base_learning_rate=config.optimizer.base_learning_rate,
        batch_size=config.batch_size,
        total_steps=total_steps(config.epochs, num_images, config.batch_size),
        warmup_steps=total_steps(config.optimizer.warmup_epochs, num_images, config.batch_size),
        tau_base=config.method.tau_base,
        tau_constant=config.method.tau_schedule == "constant",
        tau_reference_batch=config.method.tau_reference_batch,
    )


def policy(view: ViewConfig) -> ViewPolicy:
    """The policy that a view's settings describe."""
    return ViewPolicy(**dataclasses.asdict(view))


def plain_views(config: Config, *, fused: bool = False) -> Views:
    """T and T' of a resolved config, whatever its asymmetry; `fused` by the compiled operator where it fits."""
    return _views(config, pair(policy(config.views.view1), policy(config.views.view2), config.views.size), fused)


def _views(config: Config, roles: Roles[View], fused: bool) -> Views:
    return Views(
        roles,
        config.batch_size,
        config.seed,
        config.views.semantics,
        config.views.antialias,
        "fused" if fused else "native",
        config.channels_last,
    )


def by_view_size(config: Config) -> list[Config]:
    """A resolved config for each equal part of the training, with the size of its views, which grow in none of them."""

    def shrunk(side: int, scale: float) -> int:
        return max(8, round(scale * side))

    found = []
    for scale in (*config.views.growth, 1.0):
        views = dataclasses.replace(config.views, size=shrunk(config.views.size, scale), growth=())
        asymmetry = dataclasses.replace(config.asymmetry, small_size=shrunk(config.asymmetry.small_size, scale))
        found.append(dataclasses.replace(config, views=views, asymmetry=asymmetry))
    return found


def two_views(config: Config, *, fused: bool = False) -> Views:
    """The views that a resolved config trains on."""
    a, v = config.asymmetry, config.views
    sides = (a.scale_mix, a.weak_augmentation, a.mean_encoding, a.strong_augmentation)
    asymmetry = Asymmetry(a.small_crops, a.small_size, a.small_area, *sides)
    return _views(config, asymmetric(policy(v.view1), policy(v.view2), v.size, asymmetry), fused)


def feed(
    config: Config,
    source: ImageSource,
    channels: int,
    device: torch.device,
    skipped: SkippedImages,
    ranks: Ranks,
) -> Feed:
    """Micro-batches from memory where the images are equal and fit, else from worker processes."""
    plan = BatchPlan(config.batch_size, config.micro_batch_size, ranks.rank, ranks.size)
    labels = torch.from_numpy(source.labels) if source.labels is not None and config.method.online_classifier else None
    resident = load_resident(source, channels, skipped)
    if resident is None:
        return DecodingFeed(
            source,
            channels,
            plan,
            config.seed,
            choose_workers(config.workers),
            skipped,
            config.views.decode_short_side,
            pins=device.type == "cuda",
        )
    images, indices = resident
    if len(images) < config.batch_size:
        raise DataError(
            f"Only {len(images)} images of {source.description} can be decoded; a batch needs {config.batch_size}."
        )
    chosen = None if labels is None else labels[indices].to(device)
    return ResidentFeed(images.to(device), chosen, plan, config.seed, np.asarray(indices))


def state(config: Config, built: Method, device: torch.device, ranks: Ranks, *, fused: bool = False) -> State:
    """The state at step 0, on its device and in its memory layout; with several ranks batch norm spans them.

    `fused` puts the compiled operators in place of torch's.
    """
    built = built.to(device)
    if ranks.size > 1:
        synchronize_batch_norm(built)
    if choose_channels_last(config.channels_last, device):
        built = built.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if fused:
        use_fused_operators(built)
    o = config.optimizer
    optimizer = create_optimizer(
        built.trained_modules(),
        o.name,
        weight_decay=o.weight_decay,
        momentum=o.momentum,
        trust_coefficient=o.trust_coefficient,
        decay_all=o.decay_all,
        fused=fused,
        rates={
            prefix: rate
            for prefix, rate in (
                ("online.encoder.", o.encoder_rate),
                ("online.projector.", o.projector_rate),
                ("predictor.", o.predictor_rate),
            )
            if rate != 1
        },
    )
    return State(built, optimizer)


def initialize_from_data(config: Config, made: Method, feed: Feed, views: Views, device: torch.device) -> None:
    """Starts scales and shifts from the first batch, where the config asks for it."""
    if not config.method.data_init:
        return
    batch = next(iter(feed.batches(0, 1, views.crop)))
    make = views.finish if batch.cropped else views
    first = make(batch.images.to(device), 0, batch.first_row).pair()
    set_from_data(made, lambda: made(first))
    copies = made.has_average and config.method.target_init == "copy"
    if copies and isinstance(made, PairMethod | BYOL) and made.target is not None:
        made.target.load_state_dict(made.online.state_dict())


def untrained_encoder(config: Config, source: ImageSource) -> Encoder:
    """The encoder that a training on these images begins with."""
    seen = profile(source, SkippedImages())
    config, _ = fit_to_data(config, seen, len(source), adapts_batch=False, cuts_warmup=True)
    module = build_networks.method(config, seen.channels).encoder
    num_features = find_num_features(module, seen.channels, config.views.size)
    return Encoder(module, encoder_description(config, seen.channels, num_features, own_module=False))


def encoder_description(config: Config, channels: int, num_features: int, *, own_module: bool) -> EncoderDescription:
    """What has to travel with the encoder."""
    is_frozen = config.encoder.norm == "frozen"
    return EncoderDescription(
        name=None if own_module else config.encoder.name,
        settings=encoder_settings(config) | ({"norm": "batch"} if is_frozen else {}),
        num_features=num_features,
        in_channels=channels,
        image_size=config.views.size,
        mean=_per_channel(config.views.mean, channels),
        std=_per_channel(config.views.std, channels),
        antialias=config.views.antialias,
        provenance={"averages": KEPT_AVERAGES} if is_frozen else {},
    )


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values
