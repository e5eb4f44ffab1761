"""Feature vectors of a source that are kept in a file: the same encoder reads new and changed images only."""

import json
from pathlib import Path

import numpy as np
import torch

from byol.data.source import ImageSource, SkippedImages, image_keys
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder
from byol.errors import DataError, RunError
from byol.evaluate.features import Features, extract
from byol.runtime.files import make_folder, replacing
from byol.runtime.listener import SILENT, Listener


def kept_features(
    encoder: Encoder,
    source: ImageSource,
    photos: ImageSource,
    device: torch.device,
    file: Path,
    *,
    skipped: SkippedImages,
    listener: Listener = SILENT,
) -> Features:
    """Features of all images of `source` that can be decoded. Vectors that the same encoder left in `file` are read; others are added to it.

    `photos`: the images as the encoder reads them. Images are known by `image_keys`, so that vectors of another encoder, of other pictures or of changed ones
    are never used. Raises DataError if no image can be decoded.
    """
    about = json.dumps({"weights": encoder.fingerprint()})
    keys = image_keys(source)
    vectors, is_known = _known(file, about, keys, encoder.num_features)
    missing = np.flatnonzero(~is_known)
    if len(missing):
        part = photos if len(missing) == len(source) else Subset(photos, missing, source.description)
        try:
            found = extract(encoder, part, encoder.description.in_channels, device, skipped=skipped, listener=listener)
        except DataError:  # not one of them can be decoded
            if len(missing) == len(source):
                raise
        else:
            fresh = missing[found.indices.numpy()]
            vectors[fresh], is_known[fresh] = found.vectors.numpy(), True
            _keep(file, about, keys[is_known], vectors[is_known], listener)
    indices = np.flatnonzero(is_known)
    labels = None if source.labels is None else torch.from_numpy(source.labels[indices])
    return Features(torch.from_numpy(vectors[is_known]), labels, torch.from_numpy(indices))


def _keep(file: Path, about: str, keys: np.ndarray, vectors: np.ndarray, listener: Listener) -> None:
    try:
        make_folder(file.parent)
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, about=np.array(about), keys=keys, vectors=vectors)
    except RunError as error:
        listener.say(f"the vectors are not kept for the next time: {error}")


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
