"""What a step gets: the views of its micro-batches, on the device.

On a GPU they are made one micro-batch ahead, on a stream of their own, beside the step that the GPU is at.
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
    """Views of N images, with their labels."""

    views: ViewBatch
    labels: Tensor | None
    """(N,)"""


def make_views(batch: Batch, views: Views, device: torch.device) -> MicroBatch:
    """The views of a batch, on the device of the training."""
    images = to_device(batch.images, device)
    labels = None if batch.labels is None else to_device(batch.labels, device)
    make = views.finish if batch.cropped else views
    return MicroBatch(make(images, batch.step, batch.first_row), labels)


def views_by_part(
    feed: Feed, parts: Sequence[Views], first_step: int, total_steps: int, device: torch.device
) -> Iterator[MicroBatch]:
    """`micro_batches` of the steps [first_step, total_steps); `parts` are the views of equal parts of all the steps."""
    for views, (first, last) in zip(parts, bounds(len(parts), total_steps), strict=True):
        if (first := max(first, first_step)) < last:
            yield from micro_batches(feed.batches(first, last, views.crop), views, device)


def bounds(num_parts: int, total_steps: int) -> list[tuple[int, int]]:
    """[first step, last step) of each part."""
    return list(pairwise(total_steps * number // num_parts for number in range(num_parts + 1)))


def micro_batches(batches: Iterator[Batch], views: Views, device: torch.device) -> Iterator[MicroBatch]:
    """`make_views` of each batch: ahead on a GPU, when asked for elsewhere."""
    if device.type == "cuda":
        return ahead(batches, views, device)
    return (make_views(batch, views, device) for batch in batches)


def ahead(batches: Iterator[Batch], views: Views, device: torch.device) -> Iterator[MicroBatch]:
    """`make_views` of each batch, begun when the one before is asked for, on a stream of its own.

    That stream first waits for what is queued of the training by then: memory of views that were let go is taken
    again by the next ones, and no step that still reads it may be behind them. What it runs beside is the step queued next.
    """
    streams = torch.get_device_module(device)
    side = streams.Stream()
    waiting: list[tuple[MicroBatch, torch.Event]] = []
    while True:
        side.wait_stream(streams.current_stream())
        with streams.stream(side):
            batch = next(batches, None)
            made = None if batch is None else make_views(batch, views, device)
        queued = side.record_event()
        if waiting:
            before, done = waiting.pop()
            streams.current_stream().wait_event(done)
            yield before
            del before
        if made is None:
            return
        waiting.append((made, queued))
