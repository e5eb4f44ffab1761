"""Micro-batches: the views and labels for a training step, on the device.

On a GPU the views are made one micro-batch ahead on a separate stream, in parallel with the current step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.data.loader import Batch, Feed
from byol.engine.schedule import Schedule
from byol.runtime.copies import to_device
from byol.runtime.view_roles import ViewBatch
from byol.views.views import Views

NEVER = 2**40
"""A step that no training reaches."""


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
    if batch.cropped:
        return MicroBatch(views.finish(images, batch.step, batch.first_row), labels)
    partners = None if batch.partners is None else to_device(batch.partners, device)
    return MicroBatch(views(images, batch.step, batch.first_row, partners), labels)


def views_by_part(
    feed: Feed,
    parts: Sequence[Views],
    first_step: int,
    schedule: Schedule,
    device: torch.device,
    *,
    has_open_end: bool = False,
) -> Iterator[MicroBatch]:
    """Micro-batches from `first_step` to the end of the schedule; `parts` are the views of its stages.

    With `has_open_end` the last stage never ends, since the number of steps may still change.
    """
    stages = schedule.stages(len(parts))
    if has_open_end:
        stages[-1] = (stages[-1][0], NEVER)
    for views, (first, last) in zip(parts, stages, strict=True):
        if (first := max(first, first_step)) < last:
            yield from micro_batches(feed.batches(first, last, views.crop), views, device)


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
