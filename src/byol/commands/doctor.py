"""What this machine can do, and what a training on some images would be: measured in seconds, without training."""

import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from byol import build
from byol.config import Config, validate
from byol.data.loader import Batch
from byol.data.resident import MEMORY_LIMIT_BYTES
from byol.data.source import Image, ImageSource, SkippedImages
from byol.engine.step import train_step
from byol.engine.wrap import wrap
from byol.errors import BrokenImageError, DataError
from byol.optim.schedules import total_steps
from byol.runtime.duration import in_words
from byol.runtime.hardware import (
    choose_device,
    choose_kernels,
    choose_precision,
    choose_workers,
    computes_in_bf16,
    describe_machine,
    keep_freed_memory,
    memory_bytes,
    num_cores,
)
from byol.runtime.ranks import Ranks

DECODED_IMAGES = 64
TRIAL_SECONDS = 5.0
SMALLEST_TRIAL = 8
EXTRAS = {"sklearn": "t-SNE in reports (byol[maps])"}


@dataclass(frozen=True)
class Estimate:
    """What a training with a resolved config would take here."""

    config: Config
    profile: build.DataProfile
    notes: list[str]
    num_images: int
    num_steps: int
    decoded_per_second: float
    """Images, over all cores; with their crops, where sizes differ."""
    is_resident: bool
    """Whether the images are decoded once and kept in memory."""
    trained_per_second: float
    """Images, views and both networks included, from a few steps on real images."""
    trial_batch: int
    state_bytes: int
    """Weights, target, gradients, momentum."""
    skipped: dict[str, str]

    @property
    def images_per_second(self) -> float:
        """The slower of training and, where images are decoded while it trains, decoding."""
        return self.trained_per_second if self.is_resident else min(self.trained_per_second, self.decoded_per_second)

    @property
    def seconds(self) -> float:
        return self.num_steps * self.config.batch_size / self.images_per_second


def machine_lines(device_name: str = "auto") -> list[str]:
    """Device, bf16, memory, disk and versions."""
    device = choose_device(device_name)
    seen = describe_machine(device)
    total, free = memory_bytes(device)
    fp32, bf16 = _product_speed(device, torch.float32), _product_speed(device, torch.bfloat16)
    versions = ", ".join(f"{name} {version}" for name, version in seen["versions"].items())
    operators = choose_kernels("auto", device)
    missing = [f"{name}: {what}" for name, what in EXTRAS.items() if not find_spec(name)]
    return [
        *_busy(),
        f"device     {seen['device']} ({seen['processor']}, {num_cores()} cores)",
        f"bf16       {'in hardware' if computes_in_bf16(device) else 'not in hardware'}: matrix products at "
        f"{bf16 / 1e9:,.0f} GFLOP/s, {fp32 / 1e9:,.0f} in fp32; precision auto takes {choose_precision('auto', device)}",
        f"operators  {operators.kind}{f' ({operators.notice})' if operators.notice else ''}",
        f"memory     {free / 2**30:.1f} GiB free of {total / 2**30:.1f}" if total else "memory     unknown",
        f"disk       {shutil.disk_usage(Path.cwd()).free / 2**30:,.0f} GiB free here",
        f"versions   {versions}",
        *(f"missing    {line}" for line in missing),
    ]


def estimate(source: ImageSource, config: Config, *, adapts_batch: bool, epochs_overridden: bool) -> Estimate:
    """Resolves the config on the images, then measures decoding and a few training steps; nothing is written.

    Raises ConfigError and DataError as a training would.
    """
    validate(config)
    skipped = SkippedImages()
    seen = build.profile(source, skipped)
    resolved, notes = build.fit_to_data(
        config, seen, len(source), adapts_batch=adapts_batch, epochs_overridden=epochs_overridden
    )
    images, decoded_per_second = _decode(source, seen.channels, resolved, skipped)
    equal = _are_equal(images)
    trained, batch, state_bytes = _train_a_little(resolved, images, seen.channels)
    return Estimate(
        resolved,
        seen,
        notes,
        len(source),
        total_steps(resolved.epochs, len(source), resolved.batch_size),
        decoded_per_second,
        equal and images[0].nbytes * len(source) <= MEMORY_LIMIT_BYTES,
        trained,
        batch,
        state_bytes,
        skipped.reasons,
    )


def estimate_lines(found: Estimate) -> list[str]:
    """The estimate for a person."""
    c, seen = found.config, found.profile
    kept = (
        "decoded once and kept in memory"
        if found.is_resident
        else f"decoded while it trains, by {choose_workers(c.workers)} workers"
    )
    bound = "decoding" if found.images_per_second < found.trained_per_second else "training"
    return [
        f"images     {found.num_images:,}, {seen.channels} channel{'s' if seen.channels > 1 else ''}, median short side "
        f"{seen.short_side} px; {len(found.skipped)} broken among those looked at",
        f"decoding   {_speed(found.decoded_per_second)} on all cores; {kept}",
        *(f"           {note}" for note in found.notes),
        f"training   {c.encoder.name}, views of {c.views.size} px: {_speed(found.trained_per_second)}, measured on "
        f"batches of {found.trial_batch}; weights, target and optimizer take {found.state_bytes / 2**20:,.0f} MiB",
        f"estimate   {in_words(found.seconds)} for {c.epochs:g} epochs ({found.num_steps:,} steps of {c.batch_size} "
        f"images), bound by {bound}",
    ]


def _speed(images_per_second: float) -> str:
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 10 else f"{images_per_second:.2g} images/s"


def _busy() -> list[str]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < 0.7 * num_cores():
        return []
    return [f"busy       load {load:.1f} on {num_cores()} cores: other processes make the speeds below too low"]


def _are_equal(images: Sequence[Image]) -> bool:
    return len({image.shape for image in images}) == 1


def _decode(source: ImageSource, channels: int, config: Config, skipped: SkippedImages) -> tuple[list[Image], float]:
    fused = choose_kernels(config.kernels, choose_device(config.device)).kind == "fused"
    views = build.two_views(config, fused=fused)
    chosen = np.random.default_rng(0).permutation(len(source))[:DECODED_IMAGES].tolist()

    def read(index: int) -> Image | str:
        try:
            return source.read(index, channels, config.views.decode_short_side)
        except BrokenImageError as error:
            return str(error)

    with ThreadPoolExecutor(num_cores()) as pool:
        began = time.perf_counter()
        found = list(pool.map(read, chosen))
        images = [image for image in found if not isinstance(image, str)]
        if images and not _are_equal(images):
            list(pool.map(lambda row: views.crop(images[row], 0, row % config.batch_size), range(len(images))))
        elapsed = time.perf_counter() - began
    for index, image in zip(chosen, found, strict=True):
        if isinstance(image, str):
            skipped.add(source.name(index), image)
    if len(images) < 2:
        raise DataError(f"Fewer than two of the {len(chosen)} images looked at in {source.description} can be decoded.")
    return images, len(chosen) / max(elapsed, 1e-9)


def _train_a_little(config: Config, images: Sequence[Image], channels: int) -> tuple[float, int, int]:
    """(images a second, batch it was measured on, bytes of weights and buffers): batches grow while there is time."""
    device = choose_device(config.device)
    largest = min(config.batch_size, config.micro_batch_size)
    config = replace(config, method=replace(config.method, online_classifier=False))
    kernels = choose_kernels(config.kernels, device)
    keep_freed_memory(device)
    state = build.state(config, build.method(config, channels), device, Ranks(), fused=kernels.kind == "fused")
    bf16 = choose_precision(config.precision, device) == "bf16"
    compute_loss = wrap(
        state.method, device, bf16=bf16, channels_last=config.channels_last, compiled=kernels.kind == "compile"
    )
    views = build.two_views(config, fused=kernels.kind == "fused")
    schedule = build.schedule(config, max(len(images), config.batch_size))
    size = min(SMALLEST_TRIAL, largest)
    until = time.perf_counter() + TRIAL_SECONDS
    while True:
        times = []
        for _ in range(3):  # the first of a size warms up
            batch = _batch(views, [images[row % len(images)] for row in range(size)], state.step)
            began = time.perf_counter()
            train_step(state, [batch], 1, views, compute_loss, schedule, device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
        larger = min(4 * size, largest)
        if size == largest or time.perf_counter() + sum(times) * larger / size > until:
            break
        size = larger
    weights = sum(t.numel() * t.element_size() for t in state.method.state_dict().values())
    trained = sum(p.numel() * p.element_size() for group in state.optimizer.param_groups for p in group["params"])
    return size / min(times[1:]), size, weights + 2 * trained


def _batch(views: build.TwoViews | build.AsymmetricViews, rows: list[Image], step: int) -> Batch:
    """As training gets it: whole images where they are equal, else crops."""
    if _are_equal(rows):
        return Batch(step, 0, torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), False, None)
    return Batch(step, 0, torch.stack([views.crop(image, step, row) for row, image in enumerate(rows)]), True, None)


def _product_speed(device: torch.device, kind: torch.dtype, side: int = 1024) -> float:
    """Floating-point operations a second of square matrix products."""
    matrix = torch.randn(side, side, device=device).to(kind)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
