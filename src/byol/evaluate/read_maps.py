"""Feature maps of all images of a source, a few images at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from byol.data.source import ImageSource, SkippedImages
from byol.encoder.encoder import Encoder
from byol.errors import DataError
from byol.evaluate.features import batches, require_finite
from byol.runtime.hardware import keep_freed_memory
from byol.runtime.listener import SILENT, Listener
from byol.runtime.threads import tuned_threads

BATCH = 16
"""Largest number of images whose maps are in memory."""


def read_maps(
    encoder: Encoder,
    source: ImageSource,
    device: torch.device,
    *,
    stage: int = 0,
    size: int = 0,
    own_size: bool = False,
    skipped: SkippedImages | None = None,
    listener: Listener = SILENT,
    work: str = "reading",
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of (indices in the source, maps (N, D, h, w) on the CPU) that cover all images that can be decoded.

    A batch holds at most 16 images, all of one size, and near their order in the source. `stage`, `size` and errors: as in
    `Encoder.maps`. `own_size`: whether images keep their size, up to the rounding, in place of `size`. Images that cannot be decoded go to `skipped`. Raises DataError if there is no other.
    """
    broken, done = SkippedImages(), 0
    keep_freed_memory(device)
    with tuned_threads(device) as tuner:
        for numbers, images in batches(source, encoder.description.in_channels, BATCH, broken):
            pixels = images.float() / 65535 if images.dtype == torch.uint16 else images  # not values as stored
            side = min(pixels.shape[-2:]) if own_size else size
            values = encoder.maps(pixels.to(device), stage, side).values.cpu()
            require_finite(values, source.name(numbers[0]))
            done += len(numbers)
            listener.work(work, min(done + len(broken), len(source)), len(source))
            yield numbers, values
            tuner.check()
    if skipped is not None:
        skipped.images.update(broken.images)
    if not done:
        name, reason = next(iter(broken.reasons), ("", "it is empty"))
        raise DataError(f"No image of {source.description} can be decoded; {name}: {reason}.")
