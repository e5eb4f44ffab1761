"""Rows of numbers for each image that are kept in a file, such as feature vectors: new and changed images alone are read again."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.data.source import ImageSource, SkippedImages, image_keys, whole
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder
from byol.errors import DataError, RunError
from byol.evaluate.features import Features, extract
from byol.runtime.listener import SILENT, Listener
from byol.runtime.mapped import read_mapped, write_mapped
from byol.runtime.words import counted

KEYS = "keys"
"""Name of the tensor, (M, 16) uint8, of the images that a file has rows for."""
Indices = NDArray[np.int64]
Make = Callable[[Indices], tuple[Mapping[str, Tensor], Indices]]
"""Function from indices of images to (tensors by name with a row for each image that can be read, indices of these, rising)."""


def kept_features(
    encoder: Encoder,
    source: ImageSource,
    photos: ImageSource,
    device: torch.device,
    file: Path,
    *,
    skipped: SkippedImages,
    weights: str = "",
    listener: Listener = SILENT,
) -> Features:
    """Features of all images of `source` that can be decoded, mapped from `file`. Vectors that the same encoder left there are used; others are added.

    `photos`: the images as the encoder reads them. `weights`: fingerprint of the encoder that left vectors there, if that of this copy differs. Images are known by `image_keys`, so that
    vectors of another encoder, of other pictures or of changed ones are never used. A part of a source shares the file of the whole. Raises DataError if no image can be decoded.
    """

    read: list[int] = []

    def tell(missing: int) -> None:
        if count := len(source) - missing:
            more = f", {missing:,} more {'is' if missing == 1 else 'are'} read" if missing else ""
            listener.say(f"{source.description}: vectors of {counted(count, 'image')} were kept{more}")

    def make(missing: Indices) -> tuple[Mapping[str, Tensor], Indices]:
        read.append(len(missing))
        tell(len(missing))
        part = photos if len(missing) == len(source) else Subset(photos, missing, source.description)
        try:
            found = extract(encoder, part, encoder.description.in_channels, device, skipped=skipped, listener=listener)
        except DataError:  # not one of them can be decoded
            if len(missing) == len(source):
                raise
            return {}, missing[:0]
        return {"vectors": found.vectors}, missing[found.indices.numpy()]

    keys, is_part = image_keys(source), len(source) < len(whole(source)[0])
    rows, indices = kept_rows(file, about_vectors(weights or encoder.fingerprint()), keys, make, listener, part=is_part)
    if not read:
        tell(0)
    labels = None if source.labels is None else torch.from_numpy(source.labels[indices])
    return Features(rows["vectors"], labels, torch.from_numpy(indices), keys[indices])


def about_vectors(weights: str) -> str:
    """Description of a file of vectors by the encoder of this fingerprint."""
    return json.dumps({"weights": weights})


def kept_rows(
    file: Path, about: str, keys: NDArray[np.void], make: Make, listener: Listener = SILENT, *, part: bool = False
) -> tuple[dict[str, Tensor], Indices]:
    """(tensors by name with a row for each of M images, (M,) indices of these images, rising), mapped from `file`.

    Rows that the file holds under the images' (N,) `keys` and the same `about` are used; `make` makes the others. Then the file holds the rows of these M images, in
    their order, and, if they are a `part`, all others that it held. If it cannot be written the listener receives a line, and the tensors are in memory.
    """
    kept = read_mapped(file, about)
    kept_keys = kept.pop(KEYS, torch.empty(0, 16, dtype=torch.uint8))
    rows = rows_of(kept_keys, keys)
    known, missing = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    made, found = make(missing) if len(missing) else ({}, missing)
    indices = np.sort(np.concatenate((known, found)))
    others = np.setdiff1d(np.arange(len(kept_keys)), rows[known]) if part else rows[:0]
    if not len(found) and np.array_equal(rows[known], np.arange(len(kept_keys) - len(others))):
        return {name: tensor[: len(known)] for name, tensor in kept.items()}, indices
    if len(known):
        made = _joined(kept, rows[known], np.searchsorted(indices, known), made, np.searchsorted(indices, found))
    if part and not len(found):
        return dict(made), indices
    written = {**made, KEYS: bytes_of(keys[indices])}
    if len(others):
        kept[KEYS] = kept_keys
        written = {name: torch.cat((tensor, kept[name][others])) for name, tensor in written.items()}
    try:
        write_mapped(file, about, written)
    except RunError as error:
        listener.say(f"{file.name} is not kept for the next time: {error}")
        return dict(made), indices
    mapped = read_mapped(file, about)
    mapped.pop(KEYS, None)
    return {name: tensor[: len(indices)] for name, tensor in mapped.items()} or dict(made), indices


def bytes_of(keys: NDArray[np.void]) -> Tensor:
    """(N, 16) uint8 for a file that keeps the (N,) keys."""
    return torch.from_numpy(np.frombuffer(keys.tobytes(), np.uint8).reshape(-1, 16).copy())


def rows_of(kept: Tensor, keys: NDArray[np.void]) -> Indices:
    """(N,) row of each image among (M, 16) kept keys; -1 where there is none."""
    row_of = {key.tobytes(): row for row, key in enumerate(kept.numpy())}
    return np.array([row_of.get(key.tobytes(), -1) for key in keys], np.int64)


def _joined(
    kept: Mapping[str, Tensor], rows: Indices, known: Indices, made: Mapping[str, Tensor], found: Indices
) -> dict[str, Tensor]:
    """Tensors with some `rows` of the kept ones at the places `known`, and the made ones at the places `found`."""
    joined = {}
    for name, tensor in kept.items():
        joined[name] = tensor.new_empty(len(known) + len(found), *tensor.shape[1:])
        joined[name][known] = tensor[rows]
        if len(found):
            joined[name][found] = made[name]
    return joined
