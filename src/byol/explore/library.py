"""The explored images with their vectors: neighbours, clusters and exported lists."""

import contextlib
import io
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from byol.assembly.subject import Subject
from byol.commands.vectors import vectors_file, vectors_of
from byol.data.decode import EncodedImages, decode
from byol.data.deep_files import Reading
from byol.data.photo_store import shrunk
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages, whole
from byol.data.spec import NO_DATA, DataSpec
from byol.encoder.encoder import Encoder
from byol.errors import DataError, RunError
from byol.evaluate.features import Features
from byol.evaluate.kept_features import KEYS, bytes_of, rows_of
from byol.evaluate.kmeans import spherical_kmeans
from byol.explore.duplicates import Duplicates
from byol.explore.labels import Labels
from byol.explore.layout import DRAWN, MEAN, MOST_PLACED, UNIT, maps_in, prepare
from byol.explore.places import Places
from byol.explore.thumbnails import Thumbnails
from byol.report.tile import as_rgb, tile
from byol.runtime.files import write_atomically
from byol.runtime.listener import SILENT, Listener
from byol.runtime.mapped import read_mapped, write_mapped
from byol.runtime.words import command

LABELS = "labels.csv"
"""Name of the file of the classes that the user gave."""
KEPT = "kept"
"""Name of the folder for what would take time to make again: maps, duplicates and thumbnails."""
CLUSTERS, CENTRES = "clusters.safetensors", "centres"
VERSION = 2
"""Number that changes with the way in which maps are made."""
MOST_CLUSTERED = 5000
"""Largest number of images by which the centres of clusters are found; of more, this many random ones."""
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
    features: Features
    """Vectors, keys and indices of the images in the source; the vectors are mapped from a file."""
    out: Path
    """Folder for exported lists."""
    kept: Path
    """Folder for what is kept of these images."""
    first: Sequence[int] = ()
    """Indices in the source of the images to label before all others, in this order."""
    fit: str = ""
    """Command that makes a classifier of the labels; empty if the images have no folder or file."""
    names_of_clusters: dict[int, str] = field(default_factory=dict)
    listener: Listener = SILENT
    """Receiver of progress, and of messages about missing libraries."""
    names: list[str] = field(init=False)
    """Name of each image in the source."""
    mean: Tensor = field(init=False)
    """(D,) mean of all feature vectors."""
    unit: Tensor = field(init=False)
    """(N, D) vectors minus their mean, scaled to length 1: the mean does not distinguish images. They are mapped from a file."""
    plane: dict[str, Tensor] = field(init=False)
    """Maps of the images by name, best first; each is (N, 2)."""
    drawn: int = field(init=False)
    """Number of images that were there when the maps were drawn; the others were placed."""
    labels: Labels = field(init=False)
    """Classes that the user gave to images."""
    duplicates: Duplicates = field(init=False)
    places: Places = field(init=False)
    cluster: Tensor = field(init=False)
    """(N,) cluster number of each image; cluster 0 was the largest one when the clusters were found."""
    _nearness: Tensor = field(init=False)
    """(N,) cosine of each image to the centre of its cluster."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        keys = self.features.keys
        assert keys is not None
        self._keys = keys
        about = {"weights": self.encoder.fingerprint(), "version": VERSION}
        file = self.kept / "map.safetensors"
        tensors = prepare(self.features.vectors, keys, file, json.dumps(about), self.listener)
        self.mean, self.unit, self.drawn = tensors[MEAN], tensors[UNIT], int(tensors[DRAWN].sum())
        self.plane = maps_in(tensors)
        self.names = [self.source.name(index) for index in self.features.indices.tolist()]
        image_at = {index: image for image, index in enumerate(self.features.indices.tolist())}
        first = [image_at[index] for index in self.first if index in image_at]
        self.labels = Labels(self.out / LABELS, self.names, self.unit, first)
        digest = blake2b(keys.tobytes(), digest_size=16).hexdigest()
        self.duplicates = Duplicates(self.source, self.features, self.kept, json.dumps({**about, "images": digest}))
        self._thumbnails = Thumbnails(self.kept / "thumbnails.sqlite")
        self._about = json.dumps(about)
        if (centres := self._kept_centres()) is None:
            self.regroup(min(12, max(1, len(self) // 8)))
        else:
            self._group(centres)
        self.places = Places(self.encoder, self.photos, self.features.indices, self.device)

    def __len__(self) -> int:
        return len(self.features.indices)

    def name(self, image: int) -> str:
        """The image's name in the source."""
        return self.names[image]

    def path(self, image: int) -> str:
        """Path of the image's file; its name in the source if it is no file in a folder."""
        root = getattr(self.source, "root", None)
        return str((Path(root) / self.name(image)).resolve()) if root is not None else self.name(image)

    def neighbours(self, image: int, count: int) -> list[Match]:
        """The `count` most similar other images, best first."""
        return [m for m in self._most_similar(self.unit[image], count + 1) if m.image != image][:count]

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
        return self._most_similar(functional.normalize(vector[0] - self.mean, dim=0), count)

    def regroup(self, count: int) -> None:
        """Groups the images into `count` clusters, at most one per image, and keeps their centres for the next start; names given to clusters are deleted."""
        some = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:MOST_CLUSTERED].sort().values
        centres = spherical_kmeans(self.unit[some], max(1, min(count, len(some))), 0)[1]
        sizes = torch.bincount((self.unit @ centres.T).argmax(dim=1), minlength=len(centres))
        centres = centres[sizes.argsort(descending=True, stable=True)]
        self._group(centres)
        self.names_of_clusters = {}
        with contextlib.suppress(RunError):  # a folder that cannot be written costs the numbers at the next start
            write_mapped(self.kept / CLUSTERS, self._about, {CENTRES: centres, KEYS: bytes_of(self._keys)})

    def _group(self, centres: Tensor) -> None:
        """Gives each image to the nearest of (K, D) centres."""
        self._nearness, self.cluster = (self.unit @ centres.T).max(dim=1)

    def _kept_centres(self) -> Tensor | None:
        """Centres of the clusters at the last start, so that numbers and colours stay; None if too many images are new since they were found."""
        kept = read_mapped(self.kept / CLUSTERS, self._about)
        if not kept or float((rows_of(kept[KEYS], self._keys) < 0).mean()) > MOST_PLACED:
            return None
        return kept[CENTRES]

    def clusters(self) -> list[dict[str, Any]]:
        """Number, name, size and the images nearest to the centre, for each cluster that is not empty."""
        described = []
        for number in self.cluster.unique().tolist():
            inside = (self.cluster == number).nonzero()[:, 0]
            nearest_first = inside[self._nearness[inside].argsort(descending=True, stable=True)[:SHOWN_OF_CLUSTER]]
            name = self.names_of_clusters.get(number, "")
            described.append({"number": number, "name": name, "size": len(inside), "shown": nearest_first.tolist()})
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
        """Content of a square WebP file with sides of `side` pixels, made when it is first asked for. Raises BrokenImageError."""

        def make() -> bytes:
            pixels = self.photos.read(int(self.features.indices[image]), self.encoder.description.in_channels)
            return _webp(tile(pixels, side))

        return self._thumbnails.get(self._keys[image].tobytes(), side, make)

    def picture(self, image: int, most: int = 1024) -> bytes:
        """Content of a WebP file with the whole image, its longer side at most `most` pixels. Raises BrokenImageError."""
        shown = PillowImage.fromarray(as_rgb(self._pixels(image)))
        shown.thumbnail((most, most))
        return _webp(np.asarray(shown))

    def _most_similar(self, vector: Tensor, count: int) -> list[Match]:
        cosine, image = (self.unit @ vector).topk(min(count, len(self)))
        return [Match(i, s) for i, s in zip(image.tolist(), cosine.tolist(), strict=True)]

    def _pixels(self, image: int) -> np.ndarray:
        return self.source.read(int(self.features.indices[image]), self.encoder.description.in_channels)


def open_library(
    subject: Subject,
    source: ImageSource,
    device: torch.device,
    out: Path,
    *,
    place: DataSpec = NO_DATA,
    first: Sequence[int] = (),
    listener: Listener = SILENT,
) -> tuple[Library, SkippedImages]:
    """Library of all images. Vectors that the subject's encoder left in its folder are used, and what was made of the same images in `out`.

    `place` gives the cache of photos, `first` the indices of images to label before all others. Raises DataError if fewer than two images can be read.
    """
    skipped = SkippedImages()
    features = vectors_of(subject, source, place, device, skipped, listener, always=True)
    if len(features.indices) < 2:
        raise DataError(
            f"Only {len(features.indices)} image of {source.description} can be read; exploring needs two at least."
        )
    encoder = subject.encoder.to(device)
    photos = shrink_photos(source, encoder.description.in_channels, encoder.description.stored_side, place)
    kept = out / KEPT / vectors_file(subject.home, source).stem
    data = place.data or getattr(source, "root", None)
    out_of_fit = subject.home.parent / "sorter"
    words = ("classify", "fit", subject.name, "--data", data, "--labels", out / LABELS, "--out", out_of_fit)
    fit = command(*words) if data else ""
    return Library(source, photos, encoder, device, features, out, kept, first, fit, listener=listener), skipped


def _line(path: str) -> str:
    """The path in one line: quoted as JSON where it has a line break."""
    return json.dumps(path) if path.splitlines() != [path] else path


def _webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "WEBP", quality=80, method=2)
    return stream.getvalue()
