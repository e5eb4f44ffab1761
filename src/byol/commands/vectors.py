"""Vectors of images that the commands about them share: kept with the encoder, so that each image is read once."""

import hashlib
import re
from pathlib import Path

import torch

from byol.assembly.subject import Subject
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec
from byol.evaluate.features import Features, extract
from byol.evaluate.kept_features import kept_features
from byol.evaluate.protocols.options import WITHOUT_WEIGHTS
from byol.runtime.listener import SILENT, Listener

FOLDER = "vectors"


def vectors_of(
    subject: Subject,
    source: ImageSource,
    spec: DataSpec,
    device: torch.device,
    skipped: SkippedImages,
    listener: Listener = SILENT,
    *,
    always: bool = False,
) -> Features:
    """Features of all readable images by the subject's encoder, mapped from the file in which they are kept (`vectors_file`).

    Those of `pixels` and `hog` are quick, and are kept only if they are `always` to be. `spec` gives the cache of photos.
    """
    encoder = subject.encoder.to(device)
    about = encoder.description
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec)
    if subject.name in WITHOUT_WEIGHTS and not always:
        return extract(encoder, photos, about.in_channels, device, skipped=skipped, listener=listener)
    file = vectors_file(subject, source)
    return kept_features(encoder, source, photos, device, file, skipped=skipped, listener=listener)


def vectors_file(subject: Subject, source: ImageSource) -> Path:
    """File in the folder vectors/ beside the subject's results, another one for each source of images."""
    name = re.sub(r"[^\w.]+", "-", source.description)[-40:].strip("-.")
    number = hashlib.sha256(source.description.encode(errors="surrogateescape")).hexdigest()[:8]
    return subject.home / FOLDER / f"{name}-{number}.safetensors"
