"""The objects of a training step from a config: feed, networks, optimizer and views."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from byol.assembly.networks import build_method
from byol.assembly.views import build_views, by_view_size
from byol.config import Config
from byol.data.loader import BatchPlan, DecodingFeed, Feed, ResidentFeed
from byol.data.pairs import Partners
from byol.data.photo_store import is_stored
from byol.data.resident import load_resident
from byol.data.source import ImageSource, SkippedImages
from byol.data.things import Things
from byol.engine.micro_batches import make_views
from byol.engine.state import State
from byol.engine.step import ComputeLoss
from byol.engine.wrap import wrap
from byol.errors import DataError
from byol.methods.byol import BYOL
from byol.methods.network import Method
from byol.methods.siamese import PairMethod
from byol.nets.compiled.fused_operators import use_fused_operators
from byol.nets.initialization import initialize_from_data as set_from_data
from byol.nets.norm import synchronize_batch_norm
from byol.optim.groups import create_optimizer
from byol.runtime.hardware import (
    Operators,
    choose_channels_last,
    choose_kernels,
    choose_precision,
    choose_workers,
    fuses_views,
    keep_freed_memory,
)
from byol.runtime.ranks import Ranks
from byol.views.views import Views


def build_feed(
    config: Config,
    source: ImageSource,
    channels: int,
    device: torch.device,
    skipped: SkippedImages,
    ranks: Ranks,
    things: Things | None = None,
) -> Feed:
    """The feed of micro-batches: from memory if the images have one shape and fit, else from worker processes.

    `things`: what the images are of, if the two views of an image are to be of two pictures of one thing.
    """
    plan = BatchPlan(config.batch_size, config.micro_batch_size, ranks.rank, ranks.size)
    labels = torch.from_numpy(source.labels) if source.labels is not None and config.method.online_classifier else None
    resident = load_resident(source, channels, skipped)
    if resident is None:
        return DecodingFeed(
            source,
            channels,
            plan,
            config.seed,
            choose_workers(config.workers, device, decodes=not is_stored(source)),
            skipped,
            config.views.decode_short_side,
            pins=device.type == "cuda",
            partners=None if things is None else Partners(things.numbers, config.seed),
        )
    images, indices = resident
    if len(images) < config.batch_size:
        raise DataError(
            f"Only {len(images)} images of {source.description} can be decoded, but a batch needs {config.batch_size}. Set a smaller --batch-size."
        )
    resident_labels = None if labels is None else labels[indices].to(device)
    places = np.asarray(indices)
    partners = None if things is None else Partners(things.numbers[places], config.seed)
    return ResidentFeed(images.to(device), resident_labels, plan, config.seed, places, partners)


def build_state(config: Config, method: Method, device: torch.device, ranks: Ranks, *, fused: bool = False) -> State:
    """The state at step 0, on its device and in its memory layout. With several ranks, batch norm is synchronized.

    `fused`: use the compiled operators in place of torch's.
    """
    method = method.to(device)
    if ranks.size > 1:
        synchronize_batch_norm(method)
    if choose_channels_last(config.channels_last, device):
        method = method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if fused:
        use_fused_operators(method)
    o = config.optimizer
    optimizer = create_optimizer(
        method.trained_modules(),
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
    return State(method, optimizer)


def initialize_from_data(config: Config, method: Method, feed: Feed, views: Views, device: torch.device) -> None:
    """Initializes scales and shifts from the first batch, if the config asks for it."""
    if not config.method.data_init:
        return
    first = make_views(next(iter(feed.batches(0, 1, views.crop))), views, device).views.pair()
    set_from_data(method, lambda: method(first))
    copies = method.has_average and config.method.target_init == "copy"
    if copies and isinstance(method, PairMethod | BYOL) and method.target is not None:
        method.target.load_state_dict(method.online.state_dict())


@dataclass(frozen=True)
class Assembly:
    """The objects of a training step, used by a training and by its speed test."""

    config: Config
    state: State
    views: list[Views]
    """Views for each stage of the training. All stages have the same number of steps."""
    device: torch.device
    precision: str
    kernels: Operators

    def loss_function(self, num_micro_batches: int, num_ranks: int = 1) -> ComputeLoss:
        """The loss of the method, wrapped with autocast, memory layout, compilation and gradient averaging over ranks."""
        return wrap(
            self.state.method,
            self.device,
            bf16=self.precision == "bf16",
            channels_last=choose_channels_last(self.config.channels_last, self.device),
            compiled=self.kernels.kind == "compile",
            num_ranks=num_ranks,
            num_micro_batches=num_micro_batches,
        )


def assemble(
    config: Config,
    channels: int,
    device: torch.device,
    ranks: Ranks = Ranks(),  # noqa: B008
    *,
    encoder: nn.Module | None = None,
    num_classes: int = 0,
) -> Assembly:
    """The objects of a resolved config's training step, with initial weights.

    `encoder`: a module that the user built. `num_classes` > 0 adds the online classifier.
    """
    method = build_method(config, channels, encoder, num_classes, ranks.gather_rows)
    kernels = choose_kernels(config.kernels, device)
    views = [build_views(part, fused=fuses_views(config.kernels)) for part in by_view_size(config)]
    keep_freed_memory(device)
    state = build_state(config, method, device, ranks, fused=kernels.kind == "fused")
    return Assembly(config, state, views, device, choose_precision(config.precision, device), kernels)
