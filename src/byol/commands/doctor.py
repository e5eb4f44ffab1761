"""What this machine can do, and what a training on some images would be: measured in seconds, without training."""

import os
import shutil
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from byol.build.settings import Asked, resolve
from byol.build.views import by_view_size
from byol.config import Config, validate
from byol.data.profile import DataProfile, profile
from byol.data.resident import MEMORY_LIMIT_BYTES
from byol.data.source import ImageSource, SkippedImages
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
from byol.training.speed import are_equal, decode_some, train_a_little

EXTRAS = {"sklearn": "t-SNE in reports (byol[maps])"}


@dataclass(frozen=True)
class Estimate:
    """What a training with a resolved config would take here."""

    config: Config
    profile: DataProfile
    notes: list[str]
    cautions: list[str]
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
    skipped: list[tuple[str, str]]
    """Name and reason of each broken image that was met."""

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


def estimate(source: ImageSource, asked: Asked, *, epochs_are_final: bool = True) -> Estimate:
    """Resolves the config on the images, then measures decoding and a few training steps; nothing is written.

    Raises ConfigError and DataError as a training would.
    """
    validate(asked.config)
    skipped = SkippedImages()
    seen = profile(source, skipped)
    fitted = resolve(asked, seen, len(source), epochs_are_final=epochs_are_final)
    resolved = fitted.config
    images, decoded_per_second = decode_some(source, seen.channels, resolved, skipped)
    equal = are_equal(images)
    device, parts = choose_device(resolved.device), by_view_size(resolved)
    trials = [train_a_little(part, images, seen.channels, device) for part in parts]
    trained = len(trials) / sum(1 / rate for rate, _, _ in trials)
    _, batch, state_bytes = trials[-1]
    return Estimate(
        resolved,
        seen,
        fitted.notes,
        fitted.cautions,
        len(source),
        fitted.schedule.total_steps,
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
    sizes = ", then ".join(str(part.views.size) for part in by_view_size(c))
    bound = "decoding" if found.images_per_second < found.trained_per_second else "training"
    return [
        f"images     {found.num_images:,}, {seen.channels} channel{'s' if seen.channels > 1 else ''}, median short side "
        f"{seen.short_side} px; {len(found.skipped)} broken among those looked at",
        f"decoding   {_speed(found.decoded_per_second)} on all cores; {kept}",
        *(f"           {note}" for note in found.notes),
        f"training   {c.encoder.name}, views of {sizes} px: {_speed(found.trained_per_second)}, measured on "
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


def _product_speed(device: torch.device, kind: torch.dtype, side: int = 1024) -> float:
    """Floating-point operations a second of square matrix products."""
    matrix = torch.randn(side, side, device=device).to(kind)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
