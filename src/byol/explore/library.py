"""The explored images with their vectors: neighbours, clusters, near-duplicates and exported lists."""

import io
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from byol.data.decode import EncodedImages, decode
from byol.data.deep_files import Reading
from byol.data.photo_store import shrunk
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages, whole
from byol.data.spec import NO_DATA, DataSpec
from byol.encoder.encoder import Encoder
from byol.errors import BrokenImageError, DataError, RunError
from byol.evaluate.kept_features import kept_features
from byol.evaluate.kmeans import spherical_kmeans
from byol.evaluate.nearest import nearest
from byol.explore.labels import Labels
from byol.report.embedding_map import maps, spectrum
from byol.report.tile import as_rgb, tile
from byol.runtime.files import write_atomically
from byol.runtime.listener import SILENT, Listener

LABELS = "labels.csv"
"""Name of the file of the classes that the user gave."""
NEAREST_OF_EACH = 8
"""Number of each image's nearest neighbours that are searched for near-duplicates."""
MOST_FOR_SLOW_MAPS = 5000
"""Largest number of images for which the slow kinds of map are computed, too."""
SHOWN_OF_CLUSTER = 12
"""Number of images shown for each cluster."""


@dataclass(frozen=True)
class Match:
    """An image of the library, and its cosine similarity to the query."""

    image: int
    similarity: float


@dataclass
class Library:
    """All readable images, numbered from 0, with their features from an encoder. Several threads may use it."""

    source: ImageSource
    photos: ImageSource
    """The images as the encoder reads them: large ones are shrunk."""
    encoder: Encoder
    device: torch.device
    indices: Tensor
    """(N,) index of each image in the source."""
    mean: Tensor
    """(D,) mean of all feature vectors."""
    unit: Tensor
    """(N, D) vectors minus their mean, scaled to length 1: the mean does not distinguish images."""
    out: Path
    """Folder for exported lists."""
    names_of_clusters: dict[int, str] = field(default_factory=dict)
    listener: Listener = SILENT
    """Receiver of messages about missing libraries."""
    labels: Labels = field(init=False)
    """Classes that the user gave to images."""
    cluster: Tensor = field(init=False)
    """(N,) cluster number of each image; cluster 0 is the largest."""
    plane: dict[str, list[list[float]]] = field(init=False)
    """Maps of the images by name, best first; each is [xs, ys]."""
    _closest: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        slow = len(self) <= MOST_FOR_SLOW_MAPS
        plane, most_points = spectrum(self.unit)[1], len(self) if slow else 0
        points_by_map = maps(self.unit, plane, slow=slow, most_points=most_points, listener=self.listener)
        self.plane = {name: np.round(points.T, 4).tolist() for name, points in points_by_map.items()}
        self.labels = Labels(self.out / LABELS, [self.name(image) for image in range(len(self))], self.unit)
        self.regroup(min(12, max(1, len(self.indices) // 8)))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, image: int) -> str:
        """The image's name in the source."""
        return self.source.name(int(self.indices[image]))

    def path(self, image: int) -> str:
        """Path of the image's file; its name in the source if it is no file in a folder."""
        root = getattr(self.source, "root", None)
        return str((Path(root) / self.name(image)).resolve()) if root is not None else self.name(image)

    def neighbours(self, image: int, count: int) -> list[Match]:
        """The `count` most similar other images, best first."""
        return [m for m in self._most_similar(self.unit[image : image + 1], count + 1) if m.image != image][:count]

    def search(self, content: bytes, count: int) -> list[Match]:
        """The `count` images most similar to an image file with this content. Raises BrokenImageError."""
        about = self.encoder.description
        rule = about.number_format
        inner = whole(self.source)[0]
        pixels = decode(
            content,
            about.in_channels,
            about.stored_side,
            number_format=(lambda: rule) if rule else None,
            reading=inner.reading if isinstance(inner, EncodedImages) else Reading(),
        )
        pixels = shrunk(pixels, about.stored_side) if about.stored_side else pixels
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        with self._lock:
            vector = self.encoder.encode_preprocessed(self.encoder.preprocess(images.to(self.device))).cpu()
        return self._most_similar(functional.normalize(vector - self.mean, dim=1), count)

    def duplicates(self, least: float, most: int) -> list[tuple[int, int, float, bool]]:
        """Up to `most` pairs with a cosine of at least `least`, closest first: (image, image, cosine, whether pixels agree)."""
        with self._lock:
            if self._closest is None:
                self._closest = nearest(self.unit, self.unit, min(NEAREST_OF_EACH + 1, len(self)))
        cosine, place = self._closest
        first = torch.arange(len(self))[:, None].expand_as(place)
        is_pair = (first != place) & (cosine >= least)
        order = cosine[is_pair].argsort(descending=True, stable=True)[: 2 * most]
        pairs: dict[tuple[int, int], float] = {}  # each pair may occur twice, once from each side
        for one, other, similarity in zip(
            first[is_pair][order].tolist(), place[is_pair][order].tolist(), cosine[is_pair][order].tolist(), strict=True
        ):
            pairs.setdefault((min(one, other), max(one, other)), similarity)
        return [(a, b, similarity, self._same_pixels(a, b)) for (a, b), similarity in list(pairs.items())[:most]]

    def regroup(self, count: int) -> None:
        """Groups the images into `count` clusters, at most one per image; names given to clusters are deleted."""
        labels, centres = spherical_kmeans(self.unit, max(1, min(count, len(self))), 0)
        order = torch.bincount(labels, minlength=len(centres)).argsort(descending=True, stable=True)
        renumbered = torch.empty_like(order)
        renumbered[order] = torch.arange(len(order))
        self.cluster, self._centres = renumbered[labels], centres[order]
        self.names_of_clusters = {}

    def clusters(self) -> list[dict[str, Any]]:
        """Number, name, size and the images nearest to the centre, for each cluster that is not empty."""
        described = []
        for number, centre in enumerate(self._centres):
            inside = (self.cluster == number).nonzero()[:, 0]
            if len(inside):
                nearest_first = inside[(self.unit[inside] @ centre).argsort(descending=True)]
                described.append(
                    {
                        "number": number,
                        "name": self.names_of_clusters.get(number, ""),
                        "size": len(inside),
                        "shown": nearest_first[:SHOWN_OF_CLUSTER].tolist(),
                    }
                )
        return described

    def members(self, number: int) -> list[int]:
        """Images of the cluster `number`."""
        return (self.cluster == number).nonzero()[:, 0].tolist()

    def export(self, name: str, images: list[int]) -> Path:
        """Writes the images' paths (or names), one per line, to NAME.txt.

        Raises DataError if there is no image or no usable name, RunError if the file exists or cannot be written.
        """
        wanted = sorted(set(images))
        if not wanted or wanted[0] < 0 or wanted[-1] >= len(self):
            raise DataError("There is no image to export.")
        stem = re.sub(r"[^\w .()-]+", "_", name).strip(" .")[:100]
        if not stem:
            raise DataError("Give the list a name of letters or digits.")
        path = self.out / f"{stem}.txt"
        if path.exists():
            raise RunError(f"{path} is there already; give the list another name.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(
                path, "".join(f"{_line(self.path(image))}\n" for image in wanted).encode("utf-8", "surrogateescape")
            )
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror}).") from error
        return path

    def thumbnail(self, image: int, side: int) -> bytes:
        """Content of a square WebP file with sides of `side` pixels. Raises BrokenImageError."""
        pixels = self.photos.read(int(self.indices[image]), self.encoder.description.in_channels)
        return _webp(tile(pixels, side))

    def picture(self, image: int, most: int = 1024) -> bytes:
        """Content of a WebP file with the whole image, its longer side at most `most` pixels. Raises BrokenImageError."""
        shown = PillowImage.fromarray(as_rgb(self._pixels(image)))
        shown.thumbnail((most, most))
        return _webp(np.asarray(shown))

    def _most_similar(self, vector: Tensor, count: int) -> list[Match]:
        cosine, place = nearest(vector, self.unit, min(count, len(self)))
        return [Match(i, s) for i, s in zip(place[0].tolist(), cosine[0].tolist(), strict=True)]

    def _pixels(self, image: int) -> np.ndarray:
        return self.source.read(int(self.indices[image]), self.encoder.description.in_channels)

    def _same_pixels(self, one: int, other: int) -> bool:
        try:
            return bool(np.array_equal(self._pixels(one), self._pixels(other)))
        except BrokenImageError:
            return False


def open_library(
    encoder: Encoder,
    source: ImageSource,
    device: torch.device,
    out: Path,
    *,
    place: DataSpec = NO_DATA,
    listener: Listener = SILENT,
) -> tuple[Library, SkippedImages]:
    """Library of all images. Vectors that the same encoder left in `out`/vectors.npz are read; changed images are embedded again.

    `place` gives the cache of photos. Raises DataError if fewer than two images can be read.
    """
    skipped = SkippedImages()
    channels, side = encoder.description.in_channels, encoder.description.stored_side
    photos = shrink_photos(source, channels, side, place)
    features = kept_features(encoder, source, photos, device, out / "vectors.npz", skipped=skipped, listener=listener)
    indices, known = features.indices, features.vectors
    if len(indices) < 2:
        raise DataError(f"Only {len(indices)} image of {source.description} can be read; exploring needs two at least.")
    listener.say(f"drawing the map of {len(indices):,} images")
    mean = known.mean(dim=0)
    unit = functional.normalize(known - mean, dim=1)
    return Library(source, photos, encoder, device, indices, mean, unit, out, listener=listener), skipped


def _line(path: str) -> str:
    """The path in one line: quoted as JSON where it has a line break."""
    return json.dumps(path) if path.splitlines() != [path] else path


def _webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "WEBP", quality=80, method=2)
    return stream.getvalue()
