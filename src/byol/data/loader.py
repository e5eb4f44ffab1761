"""Micro-batches for training: from memory, or decoded and cropped by worker processes.

Both feeds give the same rows of the same global batch for a (step, micro-batch), whatever the number of workers.
"""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from byol.data.order import Order
from byol.data.pairs import Partners
from byol.data.source import Image, ImageSource, SkippedImages
from byol.errors import BrokenImageError, ByolError, DataError, OutOfMemoryError
from byol.runtime.copies import to_device
from byol.runtime.stopping import ignoring_stop_signals, stop_only_for

Crop = Callable[..., Tensor]
"""(decoded image (H, W, C), step, row of the global batch[, its partner]) -> float crops as the views' `distort` takes them; (2, C, S, S) for two views."""
SHARED_MEMORY = Path("/dev/shm")
QUICK_DRAWS = 32
"""Number of random replacements tried for a broken image, before all images are tried in a random order."""
PREFETCHED = 2
"""Number of micro-batches that a worker may prepare ahead."""


@dataclass
class Batch:
    """The images of one micro-batch; rows [first_row, first_row + N) of the global batch of `step`."""

    step: int
    first_row: int
    images: Tensor
    """(N, C, H, W) uint8 whole images; if `cropped`, (N, ...) float crops as `Crop` gives them."""
    cropped: bool
    labels: Tensor | None
    partners: Tensor | None = None
    """(N, C, H, W) the image that the second views of each are of; None without pairs, and if `cropped`."""


class Feed(Protocol):
    """A producer of micro-batches."""

    def batches(self, first_step: int, last_step: int, crop: Crop) -> Iterator[Batch]:
        """All micro-batches of the steps [first_step, last_step), in order; `crop` is for feeds that crop."""
        ...

    def image_indices(self, step: int) -> NDArray[np.int64]:
        """(batch_size,) indices in the source of the images of a step's global batch."""
        ...


@dataclass(frozen=True)
class BatchPlan:
    """Division of a global batch into micro-batches, one after the other, and of each micro-batch over the ranks."""

    batch_size: int
    micro_batch_size: int
    """Images per rank and forward pass."""
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

    `places`: (N,) index of each image in the source, if some images of the source were left out. `partners`: draws of the
    other image of each pair, among these N.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        plan: BatchPlan,
        seed: int,
        places: NDArray[np.int64] | None = None,
        partners: Partners | None = None,
    ) -> None:
        self.images = images
        self.partners = partners
        self.places = np.arange(len(images)) if places is None else places
        self.labels = labels
        self.plan = plan
        self.order = Order(len(images), seed)

    def batches(self, first_step: int, last_step: int, crop: Crop | None = None) -> Iterator[Batch]:
        for step, row, indices in self.plan.pieces(first_step, last_step, self.order):
            labels = self.labels
            if labels is not None:
                labels = labels[to_device(torch.from_numpy(indices), labels.device)]
            yield Batch(step, row, self._rows(indices), False, labels, self._partners(indices, step, row))

    def _partners(self, indices: NDArray[np.int64], step: int, row: int) -> Tensor | None:
        if self.partners is None:
            return None
        return self._rows(self.partners.of(indices, step * self.plan.batch_size + row))

    def _rows(self, indices: NDArray[np.int64]) -> Tensor:
        """The images at these places. torch 2.9 cannot index uint16, so that their bytes are indexed as int16."""
        places = to_device(torch.from_numpy(indices), self.images.device)
        if self.images.dtype == torch.uint16:
            return self.images.view(torch.int16)[places].view(torch.uint16)
        return self.images[places]

    def image_indices(self, step: int) -> NDArray[np.int64]:
        return self.places[self.order.indices(step * self.plan.batch_size, self.plan.batch_size)]


class DecodingFeed:
    """Micro-batches that worker processes decode and crop. A broken image is replaced by a random sound one.

    Workers write into shared memory, so that no crop is copied between processes. The memory is used again: the images of
    a batch stay valid until the batch after the next is requested. `short_side` > 0 lets large JPEG files be decoded
    smaller (`data.decode`). `pins`: whether to pin the memory of each batch, for faster copies to a GPU. `partners`: draws of
    the other image of each pair, which is decoded too; in place of a broken one another picture of the thing, else the image itself.
    """

    def __init__(
        self,
        source: ImageSource,
        channels: int,
        plan: BatchPlan,
        seed: int,
        num_workers: int,
        skipped: SkippedImages,
        short_side: int = 0,
        *,
        pins: bool = False,
        partners: Partners | None = None,
    ) -> None:
        self.source = source
        self.partners = partners
        self.channels = channels
        self.short_side = short_side
        self.pins = pins
        self.plan = plan
        self.order = Order(len(source), seed)
        self.seed = seed
        self.num_workers = num_workers
        self.skipped = skipped

    def batches(self, first_step: int, last_step: int, crop: Crop) -> Iterator[Batch]:
        if first_step >= last_step:
            return
        num_places = 2 + PREFETCHED * self.num_workers  # two in use, and those that workers are writing
        pieces = _Pieces(self.plan, self.order, first_step, last_step, num_places)
        cropped = _CroppedImages(
            self.source, self.channels, crop, self.short_side, self.seed, self.partners, self.plan.batch_size
        )
        crops = self._memory(cropped, next(iter(pieces)), num_places)
        loader = DataLoader(
            _CroppedPieces(cropped, crops),
            sampler=pieces,
            batch_size=None,
            num_workers=self.num_workers,
            prefetch_factor=PREFETCHED if self.num_workers else None,
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
        )
        for result in _with_clear_errors(loader):
            if isinstance(result, ByolError):
                raise result
            piece, labels, broken = result
            for index, reason in broken:
                self.skipped.add(self.source, index, reason)
            images = crops[piece.place]
            if self.pins:
                images = images.pin_memory()
            yield Batch(piece.step, piece.first_row, images, True, None if labels is None else torch.tensor(labels))

    def _memory(self, images: "_CroppedImages", piece: "_Piece", num_places: int) -> Tensor:
        """Shared memory for `num_places` micro-batches of crops of the first crop's shape. Raises OutOfMemoryError if it does not fit."""
        first = images.read(int(piece.indices[0]), piece.step, piece.first_row)[0]
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        needed = num_places * len(piece.indices) * first.nbytes
        usage = shutil.disk_usage(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
        if usage is not None and (usage.total < ranks_here * needed or usage.free < needed):
            raise OutOfMemoryError(
                f"{ranks_here * self.num_workers} worker processes need {ranks_here * needed / 1e6:,.0f} MB of shared memory, and "
                f"{SHARED_MEMORY} has {usage.total / 1e6:,.0f}, of which {usage.free / 1e6:,.0f} are free. Lower --workers or --micro-batch-size, or give the container more (docker run --shm-size)."
            )
        return torch.empty(num_places, len(piece.indices), *first.shape, dtype=first.dtype).share_memory_()

    def image_indices(self, step: int) -> NDArray[np.int64]:
        return self.order.indices(step * self.plan.batch_size, self.plan.batch_size)


@dataclass
class _Piece:
    """A micro-batch to prepare, and its place in the shared memory."""

    place: int
    step: int
    first_row: int
    indices: NDArray[np.int64]


@dataclass
class _Pieces:
    plan: BatchPlan
    order: Order
    first_step: int
    last_step: int
    num_places: int

    def __iter__(self) -> Iterator[_Piece]:
        cut = self.plan.pieces(self.first_step, self.last_step, self.order)
        for number, (step, row, indices) in enumerate(cut):
            yield _Piece(number % self.num_places, step, row, indices)

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.plan.num_micro_batches


@dataclass
class _CroppedImages:
    source: ImageSource
    channels: int
    crop: Crop
    short_side: int
    seed: int = 0
    partners: Partners | None = None
    batch_size: int = 0
    """Images per step, which `partners` need to know the epoch."""
    known_broken: set[int] = field(default_factory=set)

    def read(self, index: int, step: int, row: int) -> tuple[Tensor, int | None, list[tuple[int, str]]]:
        """(crops, label, (index, reason) of every broken image that was tried first).

        The replacement of a broken image depends only on the seed, the image and the place in training, so that a resumed
        run draws the same one. Knowing which images are broken only saves reading them again.
        """
        broken: list[tuple[int, str]] = []
        found = self._first_sound(self._candidates(index, step, row), broken)
        if found is None:
            reason = f"; one says: {broken[0][1]}" if broken else ""
            raise DataError(f"No image of {self.source.description} can be decoded{reason}.")
        used, image = found
        label = None if self.source.labels is None else int(self.source.labels[used])
        pair = () if self.partners is None else self.partners.candidates(used, step * self.batch_size + row)
        partner = self._first_sound(pair, broken)
        crops = self.crop(image, step, row) if partner is None else self.crop(image, step, row, partner[1])
        return crops, label, broken

    def _first_sound(self, candidates: Iterable[int], broken: list[tuple[int, str]]) -> tuple[int, Image] | None:
        """(index, image) of the first candidate that can be decoded; None if none can. Adds what is found broken to `broken`."""
        for candidate in candidates:
            if candidate in self.known_broken:
                continue
            try:
                return candidate, self.source.read(candidate, self.channels, self.short_side)
            except BrokenImageError as error:
                self.known_broken.add(candidate)
                broken.append((candidate, str(error)))
        return None

    def _candidates(self, index: int, step: int, row: int) -> Iterator[int]:
        """Indices to try: the image itself, then random ones, then all images in a random order."""
        yield index
        generator, count = np.random.default_rng((self.seed, index, step, row)), len(self.source)
        yield from generator.integers(count, size=QUICK_DRAWS).tolist()
        yield from generator.permutation(count).tolist()


class _CroppedPieces(Dataset):
    """Micro-batches whose crops are written to the shared memory; only labels and reasons pass between processes."""

    def __init__(self, images: _CroppedImages, crops: Tensor) -> None:
        self.images = images
        self.crops = crops

    def __getitem__(self, piece: _Piece) -> "tuple[_Piece, list[int] | None, list[tuple[int, str]]] | ByolError":
        """The piece, its labels and the broken images. A ByolError is returned, since raising it would add the worker's traceback."""
        try:
            return self._fill(piece)
        except ByolError as error:
            return error

    def _fill(self, piece: _Piece) -> tuple[_Piece, list[int] | None, list[tuple[int, str]]]:
        labels: list[int] = []
        broken: list[tuple[int, str]] = []
        for number, index in enumerate(piece.indices):
            crops, label, skipped = self.images.read(int(index), piece.step, piece.first_row + number)
            self.crops[piece.place, number] = crops
            labels += [] if label is None else [label]
            broken += skipped
        return piece, labels or None, broken


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    """Sets one thread per worker. Workers ignore the signals that stop a training; the training process handles them."""
    torch.set_num_threads(1)
    if (training := multiprocessing.parent_process()) is not None and training.pid is not None:
        stop_only_for(training.pid)


def _with_clear_errors(loader: DataLoader) -> Iterator[Any]:
    """Yields from the loader. Raises OutOfMemoryError if a worker died, most often because the memory was full."""
    try:
        with ignoring_stop_signals():
            pieces = iter(loader)
        yield from pieces
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OutOfMemoryError(
            f"A process that decodes images has died ({str(error).splitlines()[0]}). The memory may have been full (lower --workers "
            f"or --micro-batch-size), or the drive with the images may be gone; continue with --resume. In a script, training must stand below "
            f"`if __name__ == '__main__':`, since each process may read the script again."
        ) from error
