"""The images that are explored, with their vectors: neighbours, clusters, near-duplicates, lists to export."""

import hashlib
import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from byol.data.decode import decode
from byol.data.source import ImageSource, SkippedImages, Stored, whole
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder
from byol.errors import BrokenImageError, DataError, RunError
from byol.evaluate.features import extract
from byol.evaluate.kmeans import spherical_kmeans
from byol.evaluate.nearest import nearest
from byol.report.embedding_map import maps, spectrum
from byol.report.tile import as_rgb, tile
from byol.runtime.files import replacing, write_atomically
from byol.runtime.listener import SILENT, Listener

NEAREST_OF_EACH = 8
"""Neighbours among which near-duplicates are looked for."""
MOST_FOR_SLOW_MAPS = 5000
SHOWN_OF_CLUSTER = 12

Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Match:
    """An image of the library and its cosine with what was asked."""

    image: int
    similarity: float


@dataclass
class Library:
    """Images that could be read, numbered from 0, and what an encoder says of them. Safe for several threads."""

    source: ImageSource
    encoder: Encoder
    device: torch.device
    indices: Tensor
    """(N,) place of each image in the source."""
    mean: Tensor
    """(D,) of all vectors."""
    unit: Tensor
    """(N, D) vectors less their mean, then of length 1: what all images share tells none apart."""
    out: Path
    """Where lists go."""
    names_of_clusters: dict[int, str] = field(default_factory=dict)
    listener: Listener = SILENT
    """Is told what is missing."""
    cluster: Tensor = field(init=False)
    """(N,) number of each image's cluster, the largest being 0."""
    plane: dict[str, list[list[float]]] = field(init=False)
    """Maps by name, the best first: [xs, ys]."""
    _closest: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        slow = len(self) <= MOST_FOR_SLOW_MAPS
        found = maps(self.unit, spectrum(self.unit)[1], slow=slow, listener=self.listener)
        self.plane = {name: np.round(points.T, 4).tolist() for name, points in found.items()}
        self.regroup(min(12, max(1, len(self.indices) // 8)))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, image: int) -> str:
        """As the source calls it."""
        return self.source.name(int(self.indices[image]))

    def path(self, image: int) -> str:
        """The file, where images are files of a folder; else the name."""
        root = getattr(self.source, "root", None)
        return str((Path(root) / self.name(image)).resolve()) if root is not None else self.name(image)

    def neighbours(self, image: int, count: int) -> list[Match]:
        """The most similar other images."""
        return [m for m in self._most_similar(self.unit[image : image + 1], count + 1) if m.image != image][:count]

    def search(self, content: bytes, count: int) -> list[Match]:
        """The images most similar to an image file. Raises BrokenImageError."""
        pixels = decode(content, self.encoder.description.in_channels)
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        with self._lock:
            vector = self.encoder(images.to(self.device)).float().cpu()
        return self._most_similar(functional.normalize(vector - self.mean, dim=1), count)

    def duplicates(self, least: float, most: int) -> list[tuple[int, int, float, bool]]:
        """(image, image, cosine, whether their pixels are the same) of the most similar pairs, the closest first."""
        with self._lock:
            if self._closest is None:
                self._closest = nearest(self.unit, self.unit, min(NEAREST_OF_EACH + 1, len(self)))
        cosine, place = self._closest
        first = torch.arange(len(self))[:, None].expand_as(place)
        found = (first != place) & (cosine >= least)
        order = cosine[found].argsort(descending=True, stable=True)[: 2 * most]
        pairs: dict[tuple[int, int], float] = {}  # of which either may have the other among its nearest
        for one, other, similarity in zip(
            first[found][order].tolist(), place[found][order].tolist(), cosine[found][order].tolist(), strict=True
        ):
            pairs.setdefault((min(one, other), max(one, other)), similarity)
        return [(a, b, similarity, self._same_pixels(a, b)) for (a, b), similarity in list(pairs.items())[:most]]

    def regroup(self, count: int) -> None:
        """Makes `count` clusters, at most as many as images; names given to clusters are dropped."""
        labels, centres = spherical_kmeans(self.unit, max(1, min(count, len(self))), 0)
        order = torch.bincount(labels, minlength=len(centres)).argsort(descending=True, stable=True)
        renumbered = torch.empty_like(order)
        renumbered[order] = torch.arange(len(order))
        self.cluster, self._centres = renumbered[labels], centres[order]
        self.names_of_clusters = {}

    def clusters(self) -> list[dict[str, Any]]:
        """Number, name, size and the images nearest to the centre of each cluster that holds any."""
        found = []
        for number, centre in enumerate(self._centres):
            inside = (self.cluster == number).nonzero()[:, 0]
            if len(inside):
                nearest_first = inside[(self.unit[inside] @ centre).argsort(descending=True)]
                found.append(
                    {
                        "number": number,
                        "name": self.names_of_clusters.get(number, ""),
                        "size": len(inside),
                        "shown": nearest_first[:SHOWN_OF_CLUSTER].tolist(),
                    }
                )
        return found

    def members(self, number: int) -> list[int]:
        """The images of a cluster."""
        return (self.cluster == number).nonzero()[:, 0].tolist()

    def export(self, name: str, images: list[int]) -> Path:
        """Writes the images' paths (or names), one per line, to NAME.txt; a list of that name is not replaced.

        Raises DataError for no image or no usable name, RunError where the file is there or cannot be written.
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
        """A square WebP file. Raises BrokenImageError."""
        return _webp(tile(self._pixels(image), side))

    def picture(self, image: int, most: int = 1024) -> bytes:
        """The whole image as a WebP file, no side longer than `most`. Raises BrokenImageError."""
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
    listener: Listener = SILENT,
) -> tuple[Library, SkippedImages]:
    """Embeds all images but those whose vectors the same encoder left in `out`/vectors.npz; images that changed are others.

    Raises DataError where fewer than two images can be read.
    """
    skipped, cache = SkippedImages(), out / "vectors.npz"
    about = json.dumps({"weights": encoder.fingerprint()})
    keys = _keys(source)
    vectors, is_known = _known(cache, about, keys, encoder.num_features)
    missing = np.flatnonzero(~is_known)
    if len(missing):
        part = source if len(missing) == len(source) else Subset(source, missing, source.description)
        try:
            features = extract(
                encoder, part, encoder.description.in_channels, device, skipped=skipped, listener=listener
            )
        except DataError:  # not one of them can be decoded
            if len(missing) == len(source):
                raise
        else:
            fresh = missing[features.indices.numpy()]
            vectors[fresh], is_known[fresh] = features.vectors.numpy(), True
            out.mkdir(parents=True, exist_ok=True)
            with replacing(cache) as temporary, temporary.open("wb") as file:
                np.savez(file, about=np.array(about), keys=keys[is_known], vectors=vectors[is_known])
    indices = torch.from_numpy(np.flatnonzero(is_known))
    if len(indices) < 2:
        raise DataError(f"Only {len(indices)} image of {source.description} can be read; exploring needs two at least.")
    listener.say(f"drawing the map of {len(indices):,} images")
    found = torch.from_numpy(vectors[is_known])
    mean = found.mean(dim=0)
    unit = functional.normalize(found - mean, dim=1)
    return Library(source, encoder, device, indices, mean, unit, out, listener=listener), skipped


def _line(path: str) -> str:
    """The path in one line: quoted as JSON where it has a line break."""
    return json.dumps(path) if path.splitlines() != [path] else path


def _keys(source: ImageSource) -> np.ndarray:
    """(N,) 16 bytes of each image that change with its name, its file's times and size, or its pixels."""
    inner, places = whole(source)

    def key(index: int) -> bytes:
        digest = hashlib.blake2b(source.name(index).encode("utf-8", "surrogateescape"), digest_size=16)
        if isinstance(inner, Stored):
            try:
                digest.update(inner.stamp(int(places[index])))
            except BrokenImageError as error:
                digest.update(str(error).encode(errors="replace"))
        return digest.digest()

    return np.frombuffer(b"".join(key(index) for index in range(len(source))), np.dtype("V16"))


def _known(path: Path, about: str, keys: np.ndarray, num_features: int) -> tuple[np.ndarray, np.ndarray]:
    """(vectors of all images (N, D), which of them were kept in the file (N,))."""
    vectors, is_known = np.zeros((len(keys), num_features), np.float32), np.zeros(len(keys), bool)
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["about"]) == about:
                rows = {key.tobytes(): row for row, key in enumerate(file["keys"])}
                places = np.array([rows.get(key.tobytes(), -1) for key in keys], np.int64)
                vectors[places >= 0] = file["vectors"][places[places >= 0]]
                is_known = places >= 0
    except Exception:  # whatever lies there is made again
        return np.zeros_like(vectors), np.zeros(len(keys), bool)
    return vectors, is_known


def _webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "WEBP", quality=80, method=2)
    return stream.getvalue()
