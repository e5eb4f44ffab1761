"""The networks of a config and the method that trains them."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from byol.config import AsymmetryConfig, Config, HeadsConfig, MethodConfig, PredictorKind
from byol.encoder.encoder_file import copy_weights, load_encoder
from byol.errors import ConfigError
from byol.methods.byol import BYOL
from byol.methods.closed_form import CLOSED_FORMS, ClosedFormPredictor, directset
from byol.methods.contrastive import Gather, alone, info_nce, nt_xent
from byol.methods.losses import normalized_loss, simsiam_loss
from byol.methods.network import Method, Network, Normalize, Teacher
from byol.methods.siamese import AsTarget, PairLoss, PairMethod, TargetKind
from byol.nets.encoder import create_encoder, find_num_features, takes_any_size
from byol.nets.heads import mlp_head
from byol.nets.initialization import initialize
from byol.nets.norm import split_batch_norm, with_parts


@dataclass(frozen=True)
class MethodParts:
    """One method: its title, its loss, and its defaults for `heads.predictor` and `method.target`."""

    title: str
    """Name in model cards."""
    predictor: PredictorKind
    target: TargetKind
    loss: Callable[[MethodConfig, Gather], PairLoss]
    """Function that gives the loss over both directions. `Gather` collects the vectors of all ranks."""


METHODS = {
    "byol": MethodParts(
        "BYOL",
        "mlp",
        "average",
        lambda m, gather: partial(normalized_loss, normalization=m.loss_normalization),
    ),
    "simsiam": MethodParts("SimSiam", "mlp", "stop-gradient", lambda m, gather: simsiam_loss),
    "simclr": MethodParts(
        "SimCLR",
        "none",
        "online",
        lambda m, gather: partial(nt_xent, temperature=m.temperature, gather=gather, chunk=m.loss_chunk),
    ),
    "infonce": MethodParts(
        "BYOL with negatives (InfoNCE)",
        "mlp",
        "average",
        lambda m, gather: partial(info_nce, alpha=m.temperature, beta=m.beta, gather=gather, chunk=m.loss_chunk),
    ),
}
"""Methods by name, as in `config.MethodConfig.name`."""
TRAINED = ("mlp", "linear")
"""Kinds of predictors that the optimizer trains."""


def method_parts(config: Config) -> MethodParts:
    """The parts of a config's method, with predictor and target replaced where the config sets them."""
    own, predictor, target = METHODS[config.method.name], config.heads.predictor, config.method.target
    if config.method.teacher:
        return replace(own, title=f"{own.title} with a teacher", predictor="none", target="fixed")
    return replace(
        own,
        predictor=own.predictor if predictor == "auto" else predictor,
        target=own.target if target == "auto" else target,
    )


def encoder_settings(config: Config) -> dict[str, Any]:
    """The arguments of `create_encoder` except name, channels and image size."""
    e = config.encoder
    return {
        "width": e.width,
        "stem": e.stem,
        "conventions": e.conventions,
        "zero_init_residual": e.zero_init_residual,
        "norm": e.norm,
        "norm_groups": e.norm_groups,
        "weight_standardization": e.weight_standardization,
    }


def build_encoder(config: Config, channels: int) -> nn.Module:
    """A new encoder with its initial weights: random, pretrained, or those of `encoder.init`."""
    module = create_encoder(
        config.encoder.name,
        in_channels=channels,
        image_size=config.views.size,
        pretrained=config.encoder.pretrained,
        **encoder_settings(config),
    )
    return copy_weights(config.encoder.init, module) if config.encoder.init else module


def build_method(
    config: Config, channels: int, module: nn.Module | None = None, num_classes: int = 0, gather: Gather = alone
) -> Method:
    """The method with its networks. The initial weights depend only on the config and its seed.

    `module`: an encoder that the user built. `num_classes` > 0 adds the online classifier. `gather` collects the vectors
    of all ranks. The result is `methods.byol.BYOL` for BYOL as in the paper, else a `PairMethod`.
    """
    if module is not None and config.encoder.init:
        raise ConfigError(
            "encoder.init works only for an encoder given by name. Load the weights into your own module before."
        )
    parts = method_parts(config)
    online, predictor = _networks(config, channels, module, parts, 0)
    target = None
    if config.method.teacher:
        target = _teacher(config, online, channels)
    elif config.method.target_init == "independent" or parts.target == "fixed":
        if module is not None:
            raise ConfigError(
                "method.target_init 'independent' and method.target 'fixed' need an encoder given by name; a module of your own can only be copied."
            )
        if parts.target in ("average", "fixed"):
            target, _ = _networks(config, channels, module, parts, 2**31)
    as_target = None
    if config.asymmetry.split_batch_norm != "none":
        target, as_target = _split_batch_norm(config, parts, online, target)
    classifier = None
    if num_classes:
        with seeded(config.seed + 2**32):
            width = find_num_features(online.encoder, channels, config.views.size)
            classifier = nn.Linear(width, num_classes)
            initialize(classifier, config.encoder.conventions)
    mean, std = config.views.mean, config.views.std
    if config.method.name == "byol" and _is_the_papers(config, parts) and isinstance(predictor, nn.Module):
        return BYOL(online, predictor, mean=mean, std=std, target=target, classifier=classifier)
    return PairMethod(
        online,
        predictor,
        parts.loss(config.method, gather),
        target=parts.target,
        mean=mean,
        std=std,
        target_network=target,
        as_target=as_target,
        classifier=classifier,
        gather=gather,
    )


def _teacher(config: Config, online: Network, channels: int) -> Teacher:
    """The target network, and in `online` a head that ends in the dimensions of its vectors: projector and predictor in one."""
    teacher, h = load_encoder(config.method.teacher), config.heads
    about = teacher.description
    if about.in_channels != channels:
        raise ConfigError(
            f"The teacher in {config.method.teacher} takes images of {about.in_channels} channels; these have {channels}."
        )
    with seeded(config.seed + 2**33):
        predictor = mlp_head(
            h.projector_output,
            h.predictor_hidden,
            teacher.num_features,
            config.encoder.conventions,
            depth=h.predictor_depth,
            norm=h.predictor_norm,
            weight_standardization=h.weight_standardization,
        )
    online.projector = nn.Sequential(online.projector, predictor)
    size = 0 if about.name is not None and takes_any_size(about.name) else about.image_size
    views = Normalize(config.views.mean, config.views.std)
    return Teacher(teacher.module, Normalize(about.mean, about.std), views, size)


def _is_the_papers(config: Config, parts: MethodParts) -> bool:
    symmetric = config.asymmetry == AsymmetryConfig()
    has_parts = parts.target == "average" and parts.predictor in TRAINED
    return symmetric and has_parts and config.method.loss_normalization == "l2"


def _split_batch_norm(
    config: Config, parts: MethodParts, online: Network, target: Network | None
) -> tuple[Network | None, AsTarget | None]:
    """Splits the batch norm in one projector or in both.

    Returns the target network, and the context in which the online network computes targets if it has no separate target.
    """
    side, count = config.asymmetry.split_batch_norm, config.asymmetry.split_parts
    parts_of = {"source": count if side != "target" else 1, "target": count if side != "source" else 1}
    to_split = [(online, parts_of["source"])]
    if parts.target in ("average", "fixed"):
        target = copy.deepcopy(online) if target is None else target
        to_split = [
            (network, n) for network, n in ((online, parts_of["source"]), (target, parts_of["target"])) if n > 1
        ]
    if not all([split_batch_norm(network.projector, n) for network, n in to_split]):
        raise ConfigError(
            "asymmetry.split_batch_norm needs batch norm in the projector, and there is none. Set heads.projector_norm to batch and encoder.conventions to torch."
        )
    changes = target is None and side != "both"
    return target, partial(with_parts, parts=parts_of["target"]) if changes else None


def _networks(
    config: Config, channels: int, module: nn.Module | None, parts: MethodParts, offset: int
) -> tuple[Network, nn.Module | Literal["least-squares"] | None]:
    """Encoder, projector and predictor, initialized in this order from the config's seed."""
    with seeded(config.seed + offset):
        encoder = build_encoder(config, channels) if module is None else module
        width = find_num_features(encoder, channels, config.views.size)
        h, conventions = config.heads, config.encoder.conventions
        projector = mlp_head(
            width,
            h.projector_hidden,
            h.projector_output,
            conventions,
            depth=h.projector_depth,
            norm=h.projector_norm,
            output_norm=h.projector_output_norm,
            weight_standardization=h.weight_standardization,
        )
        predictor: nn.Module | Literal["least-squares"] | None = None
        if parts.predictor in TRAINED:
            predictor = mlp_head(
                h.projector_output,
                h.predictor_hidden,
                h.projector_output,
                conventions,
                depth=h.predictor_depth if parts.predictor == "mlp" else 1,
                norm=h.predictor_norm,
                weight_standardization=h.weight_standardization,
            )
        elif parts.predictor == "least-squares":
            predictor = "least-squares"
        elif parts.predictor != "none":
            predictor = _closed_form(h, parts.predictor)
    return Network(encoder, projector), predictor


def _closed_form(heads: HeadsConfig, kind: PredictorKind) -> ClosedFormPredictor:
    form = directset(heads.predictor_power) if kind == "directset" else CLOSED_FORMS[kind]
    return ClosedFormPredictor(
        heads.projector_output, form, average=heads.predictor_average, ridge=heads.predictor_ridge
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block, torch's global CPU generator is seeded with `seed`. Its earlier state is restored afterwards."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
