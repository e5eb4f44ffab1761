"""Content of the report about images: their feature vectors, thumbnails, galleries and maps."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from byol.data.source import Image, ImageSource, SkippedImages
from byol.data.subset import Subset
from byol.diagnostics.spectrum import effective_rank
from byol.encoder.encoder import Encoder
from byol.errors import BrokenImageError
from byol.evaluate.features import extract
from byol.report.classes import class_table
from byol.report.embedding_map import MOST_POINTS, QUICK_POINTS, maps, spectrum
from byol.report.gallery import gallery
from byol.report.tile import tile
from byol.runtime.listener import SILENT, Listener

MOST_THUMBNAILS = 2000
"""Largest number of images with a thumbnail. Galleries show only these."""
THUMBNAIL_SIDE = 64
"""Largest side of a thumbnail in pixels."""
MOST_CLUSTERS = 12
NUM_QUERIES = 6
"""Number of images whose neighbours are shown."""
BLOCK = 64
"""Number of images embedded between two checks of the time."""
SHOWN_AXES = 256
"""Number of principal axes in the spectrum."""


@dataclass
class Sample:
    """Random images of a source, with thumbnails of those that have been read."""

    source: ImageSource
    indices: np.ndarray
    """Indices of the images in the source."""
    tiles: dict[int, Image] = field(default_factory=dict)
    """Thumbnails by index in the source."""
    sides: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(height, width) in pixels of the images with thumbnails, by index in the source."""
    side: int = 0
    """Side of the thumbnails in pixels; 0: THUMBNAIL_SIDE."""

    @property
    def names(self) -> list[str]:
        return [self.source.name(int(index)) for index in self.indices]

    @property
    def labels(self) -> Tensor | None:
        return None if self.source.labels is None else torch.from_numpy(self.source.labels[self.indices])

    @property
    def thumbnails(self) -> list[Image]:
        """Thumbnails of the first MOST_THUMBNAILS images."""
        return [self.tiles[int(index)] for index in self.indices[:MOST_THUMBNAILS]]


class ThumbnailSubset(Subset):
    """A part of a source that stores a thumbnail of each image it reads."""

    def __init__(self, sample: Sample, indices: np.ndarray) -> None:
        super().__init__(sample.source, indices, sample.source.description)
        self.sample = sample

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        pixels = super().read(index, channels, short_side)
        place = int(self.indices[index])
        if place not in self.sample.tiles:
            self.sample.sides[place] = pixels.shape[0], pixels.shape[1]
            self.sample.tiles[place] = tile(pixels, self.sample.side or THUMBNAIL_SIDE)
        return pixels


def draw_sample(
    encoder: Encoder,
    source: ImageSource,
    device: torch.device,
    *,
    most: int,
    seconds: float,
    seed: int = 0,
    listener: Listener = SILENT,
) -> tuple[Sample, Tensor]:
    """Up to `most` random images and their (N, D) vectors: as many as fit into `seconds`, but at least one block."""
    indices = np.random.default_rng(seed).permutation(len(source))[:most]
    sample = Sample(source, indices, side=_thumbnail_side(source, indices, encoder.description.in_channels))
    until = time.monotonic() + seconds
    vectors: list[Tensor] = []
    read: list[np.ndarray] = []
    for start in range(0, len(indices), BLOCK):
        block = indices[start : start + BLOCK]
        features = extract(
            encoder, ThumbnailSubset(sample, block), encoder.description.in_channels, device, skipped=SkippedImages()
        )
        vectors.append(features.vectors)
        read.append(block[features.indices.numpy()])
        listener.work("reading", min(start + BLOCK, len(indices)), len(indices))
        if time.monotonic() > until:
            break
    sample.indices = np.concatenate(read)
    return sample, torch.cat(vectors)


def embed_sample(encoder: Encoder, sample: Sample, device: torch.device) -> Tensor:
    """(N, D) vectors of the sample's images by another encoder."""
    part = Subset(sample.source, sample.indices, sample.source.description)
    return extract(encoder, part, encoder.description.in_channels, device).vectors


def look(sample: Sample, vectors: Tensor, *, slow: bool, seed: int = 0, listener: Listener = SILENT) -> dict[str, Any]:
    """The page's content about one encoder, as plain lists. Galleries contain only images with thumbnails."""
    unit = functional.normalize(vectors, dim=1)
    shown = unit[:MOST_THUMBNAILS]
    shares, plane = spectrum(unit)
    labels, tiles = sample.labels, sample.thumbnails
    num_classes = 0 if labels is None else len(labels.unique())
    num_clusters = num_classes if 2 <= num_classes <= MOST_CLUSTERS else MOST_CLUSTERS
    most_points = MOST_POINTS if slow else QUICK_POINTS
    galleries = gallery(shown, num_clusters=max(1, min(num_clusters, len(shown) // 8)), seed=seed)
    first = [members[len(members) // 2] for members in galleries.members][:NUM_QUERIES]
    return {
        "maps": {
            name: np.round(points.T, 4).tolist()
            for name, points in maps(
                unit, plane, slow=slow, most_points=most_points, seed=seed, listener=listener
            ).items()
        },
        "cluster": galleries.cluster.tolist(),
        "clusters": [
            {"size": size, "members": members} for size, members in zip(galleries.sizes, galleries.members, strict=True)
        ],
        "neighbours": galleries.neighbours.tolist(),
        "similarities": _rounded(galleries.similarities, 3),
        "queries": first,
        "typical": galleries.typical,
        "odd": galleries.odd,
        "pairs": [[a, b, round(s, 4), bool(np.array_equal(tiles[a], tiles[b]))] for a, b, s in galleries.pairs],
        "spectrum": [float(f"{share:.4g}") for share in shares[:SHOWN_AXES].tolist()],
        "rank": round(effective_rank(shown - shown.mean(dim=0)), 1),
        "num_features": vectors.shape[1],
        "classes": None if labels is None or num_classes < 2 else _classes(shown, labels[: len(shown)]),
    }


def _classes(vectors: Tensor, labels: Tensor) -> dict[str, Any]:
    table = class_table(vectors, labels)
    return {
        "score": str(table.score),
        "confusion": table.confusion,
        "classes": table.classes,
        "recall": [[round(s.value, 1), round(s.low, 1), round(s.high, 1)] for s in table.recall],
        "precision": [round(value, 1) for value in table.precision],
        "support": [int((labels == number).sum()) for number in table.classes],
    }


def _thumbnail_side(source: ImageSource, indices: np.ndarray, channels: int) -> int:
    for index in indices[:BLOCK]:
        try:
            return min(THUMBNAIL_SIDE, max(source.read(int(index), channels).shape[:2]))
        except BrokenImageError:
            continue
    return THUMBNAIL_SIDE


def _rounded(values: Tensor, digits: int) -> list[list[float]]:
    return np.round(values.double().numpy(), digits).tolist()
