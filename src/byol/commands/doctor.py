"""Abilities of this machine, and an estimate of a training from speed tests that take a few seconds."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from byol.assembly.settings import Asked, resolve
from byol.assembly.views import by_view_size
from byol.config import Config, validate
from byol.data.prepare_photos import is_worth_storing, shrink_photos
from byol.data.profile import DataProfile, profile
from byol.data.resident import fits_memory
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import NO_DATA, DataSpec
from byol.data.things import find_things
from byol.runtime.duration import in_words
from byol.runtime.hardware import (
    choose_device,
    choose_kernels,
    choose_precision,
    choose_workers,
    computes_in_bf16,
    describe_machine,
    memory_bytes,
    num_cores,
)
from byol.runtime.ranks import Ranks
from byol.training.plan import default_limit, plan_by_time
from byol.training.speed import decode_some, images_per_second, train_a_little


@dataclass(frozen=True)
class Estimate:
    """Speed and length of a training on this machine."""

    config: Config
    profile: DataProfile
    notes: list[str]
    cautions: list[str]
    num_images: int
    num_steps: int
    decoded_per_second: float
    """Decoded images per second on all cores, including crops if sizes differ."""
    is_resident: bool
    """Whether the images are decoded once, and then read from memory or from the store of photos."""
    trained_per_second: float
    """Trained images per second, measured in a few steps on real images; includes the views."""
    images_per_second: float
    """Expected speed, with the decoding that happens during the training."""
    trial_batch: int
    """Images per step in the speed test."""
    state_bytes: int
    """Bytes of weights, target, gradients and momentum."""
    skipped: list[tuple[str, str]]
    """(name, reason) of each broken image that was read."""

    @property
    def seconds(self) -> float:
        """Expected length of the training."""
        return self.num_steps * self.config.batch_size / self.images_per_second


def machine_lines(device_name: str = "auto") -> list[str]:
    """Lines about device, bf16, operators, memory, disk and versions."""
    device = choose_device(device_name)
    machine = describe_machine(device)
    total, free = memory_bytes(device)
    fp32, bf16 = _product_speed(device, torch.float32), _product_speed(device, torch.bfloat16)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    operators = choose_kernels("auto", device)
    return [
        *_busy(),
        f"device     {machine['device']} ({machine['processor']}, {num_cores()} cores)",
        f"bf16       {'in hardware' if computes_in_bf16(device) else 'not in hardware'}: matrix products at "
        f"{bf16 / 1e9:,.0f} GFLOP/s, {fp32 / 1e9:,.0f} in fp32; precision auto chooses {choose_precision('auto', device)}",
        f"operators  {operators.kind}{f' ({operators.notice})' if operators.notice else ''}",
        f"memory     {free / 2**30:.1f} GiB free of {total / 2**30:.1f}" if total else "memory     unknown",
        f"disk       {shutil.disk_usage(Path.cwd()).free / 2**30:,.0f} GiB free here",
        f"versions   {versions}",
    ]


def estimate(
    source: ImageSource, asked: Asked, *, epochs_are_final: bool = True, place: DataSpec = NO_DATA
) -> Estimate:
    """Resolves the config for the images, then times decoding and a few training steps. Nothing is written.

    `place` gives the cache of photos. Raises ConfigError and DataError, as a training would.
    """
    validate(asked.config)
    find_things(source, asked.config.views.pairs)
    skipped = SkippedImages()
    data_profile = profile(source, skipped)
    side = resolve(asked, data_profile, len(source), epochs_are_final=False).config.views.stored_side
    source = shrink_photos(source, data_profile.channels, side, place)
    stores = is_worth_storing(source, place)
    limit = default_limit(asked, time.monotonic())
    planned = plan_by_time(limit, asked, source, data_profile, Ranks(), decodes_once=stores) if limit else None
    resolved = resolve(
        asked,
        data_profile,
        len(source),
        trial=planned.config if planned else None,
        epochs_are_final=epochs_are_final and not planned,
    )
    config = resolved.config
    images, decoded_per_second = decode_some(source, data_profile.channels, config, skipped)
    device, parts = choose_device(config.device), by_view_size(config)
    trials = [train_a_little(part, images, data_profile.channels, device) for part in parts]
    trained = len(trials) / sum(1 / rate for rate, _, _ in trials)
    _, batch, state_bytes = trials[-1]
    is_resident = stores or fits_memory(source, images)
    expected = images_per_second(trained, decoded_per_second, source, config, device, in_memory=is_resident)
    return Estimate(
        config,
        data_profile,
        [*(planned.notes[-1:] if planned else []), *resolved.notes],
        resolved.cautions,
        len(source),
        resolved.schedule.total_steps,
        decoded_per_second,
        is_resident,
        trained,
        expected,
        batch,
        state_bytes,
        skipped.reasons,
    )


def estimate_lines(result: Estimate) -> list[str]:
    """Lines that describe the estimate."""
    c, data_profile = result.config, result.profile
    decoding = (
        "decoded once and kept in memory or in the cache"
        if result.is_resident
        else f"decoded during the training by {choose_workers(c.workers, choose_device(c.device))} workers"
    )
    sizes = ", then ".join(str(part.views.size) for part in by_view_size(c))
    limit = "decoding" if 2 * result.images_per_second < result.trained_per_second else "training"
    return [
        f"images     {result.num_images:,}, {data_profile.channels} channel{'s' if data_profile.channels > 1 else ''}, median short side "
        f"{data_profile.short_side} px; {len(result.skipped)} broken among those that were read",
        f"decoding   {_speed(result.decoded_per_second)} on all cores; {decoding}",
        *(f"           {note}" for note in result.notes),
        f"training   {c.encoder.name}, views of {sizes} px: {_speed(result.trained_per_second)}, measured on "
        f"batches of {result.trial_batch}; weights, target and optimizer take {result.state_bytes / 2**20:,.0f} MiB",
        f"estimate   {in_words(result.seconds)} for {c.epochs:g} epochs ({result.num_steps:,} steps of {c.batch_size} "
        f"images), limited by {limit}",
    ]


def _speed(images_per_second: float) -> str:
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 10 else f"{images_per_second:.2g} images/s"


def _busy() -> list[str]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < 0.7 * num_cores():
        return []
    return [
        f"busy       load {load:.1f} on {num_cores()} cores: other processes are running, so the speeds below are too low"
    ]


def _product_speed(device: torch.device, kind: torch.dtype, side: int = 1024) -> float:
    """Floating-point operations per second in products of square matrices."""
    matrix = torch.randn(side, side, device=device).to(kind)
    best = float("inf")
    for _ in range(4):
        start_time = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = min(best, time.perf_counter() - start_time)
    return 2 * side**3 / best
