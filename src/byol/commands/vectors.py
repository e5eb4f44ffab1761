"""Vectors of images that the commands about them share: kept with the encoder, so that each image is read once."""

import hashlib
import re
from pathlib import Path

import torch

from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec
from byol.encoder.encoder import Encoder
from byol.evaluate.features import Features
from byol.evaluate.kept_features import kept_features
from byol.runtime.listener import Listener

FOLDER = "vectors"


def vectors_of(
    encoder: Encoder,
    source: ImageSource,
    spec: DataSpec,
    home: Path,
    device: torch.device,
    skipped: SkippedImages,
    listener: Listener,
) -> Features:
    """Features of all readable images. They are kept in the folder vectors/ of `home`, the encoder's folder, in a file for each source of images."""
    about = encoder.description
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec)
    name = re.sub(r"[^\w.]+", "-", source.description)[-40:].strip("-.")
    number = hashlib.sha256(source.description.encode(errors="surrogateescape")).hexdigest()[:8]
    file = home / FOLDER / f"{name}-{number}.npz"
    return kept_features(encoder, source, photos, device, file, skipped=skipped, listener=listener)
