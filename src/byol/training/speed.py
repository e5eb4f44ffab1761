"""Speed tests of decoding and of training. They take a few seconds and write nothing."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from byol.assembly.settings import build_schedule
from byol.assembly.training import assemble
from byol.assembly.views import build_views
from byol.config import Config
from byol.data.loader import Batch
from byol.data.photo_store import is_stored
from byol.data.source import Image, ImageSource, SkippedImages
from byol.engine.micro_batches import make_views
from byol.engine.step import train_step
from byol.errors import BrokenImageError, DataError
from byol.runtime.hardware import choose_workers, fuses_views, num_cores
from byol.runtime.threads import tuned_threads
from byol.views.views import Views

DECODED_IMAGES = 64
"""Number of images in the test of decoding."""
TRIAL_SECONDS = 8.0
"""Approximate length of the test of training, in seconds."""
SMALLEST_TRIAL = 8
"""Number of images in the first steps; later steps are larger."""
MOST_STEPS = 8
"""Largest number of steps of the largest size. Their median time is the result."""


def are_equal(images: Sequence[Image]) -> bool:
    """Whether all images have the same shape, so that they can be kept in memory as one tensor."""
    return len({image.shape for image in images}) == 1


def decode_some(
    source: ImageSource, channels: int, config: Config, skipped: SkippedImages
) -> tuple[list[Image], float]:
    """Decodes some images. Returns (images, images per second on all cores); the time includes cropping if shapes differ.

    Raises DataError if fewer than two images can be decoded.
    """
    views = build_views(config, fused=fuses_views(config.kernels))
    indices = np.random.default_rng(0).permutation(len(source))[:DECODED_IMAGES].tolist()

    def read(index: int) -> Image | str:
        try:
            return source.read(index, channels, config.views.decode_short_side)
        except BrokenImageError as error:
            return str(error)

    with ThreadPoolExecutor(num_cores()) as pool:
        start_time = time.perf_counter()
        results = list(pool.map(read, indices))
        images = [image for image in results if not isinstance(image, str)]
        if images and not are_equal(images):
            list(pool.map(lambda row: views.crop(images[row], 0, row % config.batch_size), range(len(images))))
        elapsed = time.perf_counter() - start_time
    for index, image in zip(indices, results, strict=True):
        if isinstance(image, str):
            skipped.add(source, index, image)
    if len(images) < 2:
        raise DataError(
            f"Fewer than two of the {len(indices)} images that were tried in {source.description} can be decoded."
        )
    return images, len(indices) / max(elapsed, 1e-9)


def images_per_second(
    trained: float, decoded: float, source: ImageSource, config: Config, device: torch.device, *, in_memory: bool
) -> float:
    """Expected speed of a training from the two speed tests, in images per second.

    On a CPU decoding and training share the cores, and stored photos are cropped by the training process alone. With a GPU the
    slower one decides. Where images come in pairs (`views.pairs`) two are decoded for each.
    """
    if in_memory:
        return trained
    decoded /= 2 if config.views.pairs else 1
    if device.type != "cpu":
        return min(trained, decoded)
    workers = choose_workers(config.workers, device, decodes=not is_stored(source))
    return 1 / (1 / trained + (1 if workers else num_cores()) / decoded)


def train_a_little(
    config: Config, images: Sequence[Image], channels: int, device: torch.device, num_ranks: int = 1
) -> tuple[float, int, int]:
    """Times some training steps, which get larger while there is time.

    Returns (images per second, images in the measured step, bytes of weights, target, gradients and momentum).
    """
    largest = min(config.batch_size, config.micro_batch_size)
    most = config.batch_size // (config.micro_batch_size * num_ranks)
    config = replace(config, method=replace(config.method, online_classifier=False))
    assembly = assemble(config, channels, device)
    state, views = assembly.state, assembly.views[-1]
    compute_loss = assembly.loss_function(most)
    schedule = build_schedule(config, max(len(images), config.batch_size))
    size, num_micro_batches = min(SMALLEST_TRIAL, largest), 1
    times: list[float] = []
    until = time.perf_counter() + TRIAL_SECONDS

    def step() -> float:
        if tuner.check():
            times.clear()  # they were taken with another number of threads
        batch = _batch(views, [images[row % len(images)] for row in range(size)], state.step)
        start_time = time.perf_counter()
        views_of_step = (make_views(batch, views, device) for _ in range(num_micro_batches))
        train_step(state, views_of_step, num_micro_batches, compute_loss, schedule)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start_time

    with tuned_threads(device, config.threads or (torch.get_num_threads() if num_ranks > 1 else 0)) as tuner:
        while True:
            step()  # the first step of a size is slower
            times.clear()
            times.append(step())
            larger, more = min(4 * size, largest), num_micro_batches
            if size == largest:  # then more micro-batches, up to those of one optimizer step
                more = min(4 * num_micro_batches, most)
            growth = larger * more / (size * num_micro_batches)
            if growth == 1 or time.perf_counter() + 2 * times[0] * growth > until:
                break
            size, num_micro_batches = larger, more
        while len(times) < MOST_STEPS and time.perf_counter() + times[-1] < until:
            times.append(step())
    trained_images = size * num_micro_batches
    weights = sum(t.numel() * t.element_size() for t in state.method.state_dict().values())
    trained = sum(p.numel() * p.element_size() for group in state.optimizer.param_groups for p in group["params"])
    return trained_images / statistics.median(times), trained_images, weights + 2 * trained


def _batch(views: Views, rows: list[Image], step: int) -> Batch:
    """The batch as a training gets it: whole images if they have one shape, else crops."""
    if are_equal(rows):
        return Batch(step, 0, torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), False, None)
    return Batch(step, 0, torch.stack([views.crop(image, step, row) for row, image in enumerate(rows)]), True, None)
