"""Micro-batches for training: from memory, or decoded and cropped by worker processes.

Both give the same rows of the same global batch for a (step, micro-batch), whatever the number of workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from byol.data.order import Order
from byol.data.source import Image, ImageSource, SkippedImages
from byol.errors import BrokenImageError, DataError

Crop = Callable[[Image, int, int], Tensor]
"""(decoded image (H, W, C), step, row of the global batch) -> (2, C, S, S) float crops, one per view."""


@dataclass
class Batch:
    """The images of one micro-batch; rows [first_row, first_row + N) of the global batch of `step`."""

    step: int
    first_row: int
    images: Tensor
    """(N, C, H, W) uint8 whole images; or (N, 2, C, S, S) float crops where `cropped`."""
    cropped: bool
    labels: Tensor | None

    def __len__(self) -> int:
        return self.images.shape[0]


class Feed(Protocol):
    """Where micro-batches come from."""

    num_images: int

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """All micro-batches of the steps [first_step, last_step), in order."""
        ...

    def image_indices(self, step: int) -> NDArray[np.int64]:
        """(batch_size,) places in the source of the images of a step's global batch."""
        ...


@dataclass(frozen=True)
class BatchPlan:
    """How global batches are cut: into micro-batches one after the other, each of these over the ranks."""

    batch_size: int
    micro_batch_size: int
    """Images per rank and forward."""
    rank: int = 0
    num_ranks: int = 1

    @property
    def num_micro_batches(self) -> int:
        return self.batch_size // (self.micro_batch_size * self.num_ranks)

    def pieces(self, first_step: int, last_step: int, order: Order) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """(step, first row, image indices) of every micro-batch of this rank."""
        for step in range(first_step, last_step):
            indices = order.indices(step * self.batch_size, self.batch_size)
            for micro_batch in range(self.num_micro_batches):
                row = (micro_batch * self.num_ranks + self.rank) * self.micro_batch_size
                yield step, row, indices[row : row + self.micro_batch_size]


class ResidentFeed:
    """Micro-batches from one uint8 tensor (N, C, H, W), which stays on its device.

    `places` (N,) says where in the source each image stood, where some were left out.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        plan: BatchPlan,
        seed: int,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.images = images
        self.places = np.arange(len(images)) if places is None else places
        self.labels = labels
        self.plan = plan
        self.order = Order(len(images), seed)
        self.num_images = len(images)

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        for step, row, indices in self.plan.pieces(first_step, last_step, self.order):
            chosen = torch.from_numpy(indices).to(self.images.device)
            labels = None if self.labels is None else self.labels[chosen]
            yield Batch(step, row, self.images[chosen], False, labels)

    def image_indices(self, step: int) -> NDArray[np.int64]:
        return self.places[self.order.indices(step * self.plan.batch_size, self.plan.batch_size)]


class DecodingFeed:
    """Micro-batches that worker processes decode and crop. A broken image is replaced by the next that is not.

    `short_side` > 0 lets large JPEG files be decoded smaller (`data.decode`).
    """

    def __init__(
        self,
        source: ImageSource,
        channels: int,
        crop: Crop,
        plan: BatchPlan,
        seed: int,
        num_workers: int,
        skipped: SkippedImages,
        short_side: int = 0,
    ) -> None:
        self.dataset = _CroppedImages(source, channels, crop, short_side)
        self.plan = plan
        self.order = Order(len(source), seed)
        self.num_images = len(source)
        self.num_workers = num_workers
        self.skipped = skipped

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        pieces = [] if first_step >= last_step else _Pieces(self.plan, self.order, first_step, last_step)
        loader = DataLoader(
            self.dataset,
            batch_sampler=pieces,  # pyright: ignore[reportArgumentType]
            num_workers=self.num_workers,
            collate_fn=_collate,
            worker_init_fn=_one_thread,
            pin_memory=torch.cuda.is_available(),
        )
        for batch, broken in loader:
            for name, reason in broken:
                self.skipped.add(name, reason)
            yield batch

    def image_indices(self, step: int) -> NDArray[np.int64]:
        return self.order.indices(step * self.plan.batch_size, self.plan.batch_size)


@dataclass
class _Pieces:
    plan: BatchPlan
    order: Order
    first_step: int
    last_step: int

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for step, row, indices in self.plan.pieces(self.first_step, self.last_step, self.order):
            yield [(int(index), step, row + place) for place, index in enumerate(indices)]

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.plan.num_micro_batches


@dataclass
class _Item:
    crops: Tensor
    step: int
    row: int
    label: int | None
    broken: list[tuple[str, str]]


class _CroppedImages(Dataset):
    def __init__(self, source: ImageSource, channels: int, crop: Crop, short_side: int) -> None:
        self.source = source
        self.channels = channels
        self.crop = crop
        self.short_side = short_side

    def __getitem__(self, key: tuple[int, int, int]) -> _Item:
        index, step, row = key
        broken: list[tuple[str, str]] = []
        for attempt in range(len(self.source)):
            candidate = (index + attempt) % len(self.source)
            try:
                image = self.source.read(candidate, self.channels, self.short_side)
            except BrokenImageError as error:
                broken.append((self.source.name(candidate), str(error)))
                continue
            label = None if self.source.labels is None else int(self.source.labels[candidate])
            return _Item(self.crop(image, step, row), step, row, label, broken)
        raise DataError(f"No image of {self.source.description} can be decoded; the first says: {broken[0][1]}.")


def _collate(items: list[_Item]) -> tuple[Batch, list[tuple[str, str]]]:
    crops = torch.stack([item.crops for item in items])
    labels = None if items[0].label is None else torch.tensor([item.label for item in items])
    broken = [entry for item in items for entry in item.broken]
    return Batch(items[0].step, items[0].row, crops, True, labels), broken


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
