"""Places in the explored images that look like a chosen one, by the cells of feature maps: read when they are first asked for, and kept in memory."""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from byol.data.source import Image, ImageSource, SkippedImages
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder
from byol.errors import DataError
from byol.evaluate.read_maps import read_maps
from byol.report.parts import DEPTH

MOST_IMAGES = 2000
"""Largest number of images that are compared; of more, this many random ones."""
MOST_CELLS = 400
"""Largest number of cells of an image; finer maps are averaged. All cells together take at most 80 MB."""
FIRST = 32
"""Number of images whose cells give the principal axes by which all are compared."""
PIECE = 32
"""Number of images after which what was read is there to be compared."""


@dataclass(frozen=True)
class Place:
    """The most similar place of one image."""

    image: int
    similarity: float
    """Cosine of its cell to the chosen one."""
    row: int
    column: int
    cosines: Tensor
    """(rows, columns) cosine of every cell to the chosen one."""
    ratio: float = 1.0
    """Width of the image divided by its height."""


@dataclass(frozen=True)
class Found:
    """Places like the chosen one, best first, the chosen image's own first of all."""

    places: list[Place]
    read: int
    """Number of images that have been read so far."""
    wanted: int
    """Number of images that will be read."""


class _Shaped(Subset):
    """Some of the images, which notes the width by the height of each that is read."""

    def __init__(self, source: ImageSource, indices: np.ndarray) -> None:
        super().__init__(source, indices, "the explored images")
        self.ratios: dict[int, float] = {}

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        pixels = super().read(index, channels, short_side)
        self.ratios[index] = pixels.shape[1] / pixels.shape[0]
        return pixels


@dataclass
class Places:
    """The cells of up to `MOST_IMAGES` images. Several threads may use it."""

    encoder: Encoder
    photos: ImageSource
    indices: Tensor
    """(N,) index of each explored image in `photos`."""
    device: torch.device
    chosen: list[int] = field(init=False)
    """Images to compare, in random order, so that the first ones stand for all."""
    _cells: dict[int, Tensor] = field(default_factory=dict, init=False)
    """(DEPTH, rows, columns) unit vectors by image."""
    _ratios: dict[int, float] = field(default_factory=dict, init=False)
    _axes: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    """(D,) mean of unit cells, and (D, DEPTH) principal axes."""
    _tried: int = field(default=0, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        order = np.random.default_rng(0).permutation(len(self.indices))
        self.chosen = order[:MOST_IMAGES].tolist()

    def find(self, image: int, x: float, y: float, count: int) -> Found:
        """The most similar place of each of up to `count` images to that of `image` at the fractions x and y of its width and height.

        It compares what a thread, which the first call starts, has read by now. Raises EncoderError if the encoder gives no maps,
        DataError if the image cannot be read.
        """
        self.encoder.map_strides()
        with self._lock:
            if self._axes is None:
                self._read(self.chosen[:FIRST])
            if image not in self._cells:
                self._read([image])
            if image not in self._cells:
                raise DataError("The image can no longer be read.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_all, daemon=True)
                self._thread.start()
            cells = dict(self._cells)
        own = cells[image]
        row, column = (min(int(part * side), side - 1) for part, side in zip((y, x), own.shape[1:], strict=True))
        others = [other for other in cells if other != image]
        found = _compare(own[:, row, column], others, [cells[other] for other in others])
        best = sorted(found, key=lambda place: -place.similarity)[:count]
        chosen = Place(image, 1.0, row, column, torch.einsum("d,dhw->hw", own[:, row, column], own))
        shown = [replace(place, ratio=self._ratios[place.image]) for place in (chosen, *best)]
        return Found(shown, min(max(self._tried, FIRST), len(self.chosen)), len(self.chosen))

    def wait(self) -> None:
        """Waits until all images have been read."""
        if self._thread is not None:
            self._thread.join()

    def _read_all(self) -> None:
        for start in range(0, len(self.chosen), PIECE):
            piece = self.chosen[start : start + PIECE]
            with self._lock:
                self._read([image for image in piece if image not in self._cells])
                self._tried = start + len(piece)

    def _read(self, images: Sequence[int]) -> None:
        """Reads the maps of images; those that cannot be read are left out."""
        if not images:
            return
        source = _Shaped(self.photos, self.indices[list(images)].numpy())
        maps: dict[int, Tensor] = {}
        with contextlib.suppress(DataError):  # none of them can be read any more
            for numbers, values in read_maps(self.encoder, source, self.device, skipped=SkippedImages()):
                maps |= {images[number]: _coarse(part) for number, part in zip(numbers, values, strict=True)}
        if self._axes is None and maps:
            self._axes = _principal_axes(torch.cat([part.flatten(1).T for part in maps.values()]))
        self._ratios |= {images[number]: ratio for number, ratio in source.ratios.items()}
        for image, values in maps.items():
            assert self._axes is not None
            mean, axes = self._axes
            cells = (functional.normalize(values.flatten(1).T, dim=1) - mean) @ axes
            self._cells[image] = functional.normalize(cells, dim=1).T.reshape(-1, *values.shape[1:])


def _coarse(values: Tensor) -> Tensor:
    """A map (D, h, w) averaged to at most `MOST_CELLS` cells."""
    rows, columns = values.shape[1:]
    scale = (MOST_CELLS / (rows * columns)) ** 0.5
    if scale >= 1:
        return values
    return functional.adaptive_avg_pool2d(values, (max(1, int(rows * scale)), max(1, int(columns * scale))))


def _principal_axes(cells: Tensor) -> tuple[Tensor, Tensor]:
    """((D,) mean, (D, DEPTH) principal axes) of the unit vectors of (M, D) cells; what all cells share tells no places apart."""
    unit = functional.normalize(cells, dim=1)
    mean = unit.mean(dim=0)
    centred = (unit - mean).double()
    basis = torch.linalg.eigh(centred.T @ centred / len(centred)).eigenvectors
    return mean, basis[:, -DEPTH:].to(cells.dtype)


def _compare(query: Tensor, images: list[int], cells: list[Tensor]) -> list[Place]:
    """The most similar place of each image to a (DEPTH,) vector."""
    found = []
    for image, values in zip(images, cells, strict=True):
        cosines = torch.einsum("d,dhw->hw", query, values)
        row, column = divmod(int(cosines.argmax()), cosines.shape[1])
        found.append(Place(image, float(cosines[row, column]), row, column, cosines))
    return found
