"""Micro-batches: the views and labels for a training step, on the device.

On a GPU the views are made one micro-batch ahead on a separate stream, in parallel with the current step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from byol.data.loader import Batch, Feed
from byol.runtime.copies import to_device
from byol.runtime.view_roles import ViewBatch
from byol.views.views import Views


@dataclass(frozen=True)
class MicroBatch:
    """Views and labels of N images."""

    views: ViewBatch
    labels: Tensor | None
    """(N,) int64; None without labels."""


def make_views(batch: Batch, views: Views, device: torch.device) -> MicroBatch:
    """Micro-batch of views and labels on `device`, made from a batch of images or crops."""
    images = to_device(batch.images, device)
    labels = None if batch.labels is None else to_device(batch.labels, device)
    make = views.finish if batch.cropped else views
    return MicroBatch(make(images, batch.step, batch.first_row), labels)


def views_by_part(
    feed: Feed, parts: Sequence[Views], first_step: int, total_steps: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Micro-batches of the steps [first_step, total_steps); `parts` are the views of stages of equal length."""
    for views, (first, last) in zip(parts, bounds(len(parts), total_steps), strict=True):
        if (first := max(first, first_step)) < last:
            yield from micro_batches(feed.batches(first, last, views.crop), views, device)


def bounds(num_parts: int, total_steps: int) -> list[tuple[int, int]]:
    """(first step, step after the last) of each of `num_parts` equal stages."""
    return list(pairwise(total_steps * number // num_parts for number in range(num_parts + 1)))


def micro_batches(batches: Iterator[Batch], views: Views, device: torch.device) -> Iterator[MicroBatch]:
    """Micro-batches made from `batches`: one ahead on a GPU, on demand on other devices."""
    if device.type == "cuda":
        return ahead(batches, views, device)
    return (make_views(batch, views, device) for batch in batches)


def ahead(batches: Iterator[Batch], views: Views, device: torch.device) -> Iterator[MicroBatch]:
    """Micro-batches made on a separate stream; each is started when the one before is requested.

    That stream first waits for all training work queued so far: the next views reuse the memory of freed ones, which a
    queued step may still read. They run in parallel with the step that is queued next.
    """
    streams = torch.get_device_module(device)
    side = streams.Stream()
    waiting: list[tuple[MicroBatch, torch.Event]] = []
    while True:
        side.wait_stream(streams.current_stream())
        with streams.stream(side):
            batch = next(batches, None)
            micro_batch = None if batch is None else make_views(batch, views, device)
        finished = side.record_event()
        if waiting:
            previous, previous_finished = waiting.pop()
            streams.current_stream().wait_event(previous_finished)
            yield previous
            del previous
        if micro_batch is None:
            return
        waiting.append((micro_batch, finished))
