"""Vectors of images that the commands about them share: kept with the encoder, so that each image is read once."""

import hashlib
import re

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
) -> Features:
    """Features of all readable images by the subject's encoder.

    They are kept in the folder vectors/ beside its results, in a file for each source of images; those of `pixels` and `hog` are quick and are not kept. `spec` gives the cache of photos.
    """
    encoder = subject.encoder.to(device)
    about = encoder.description
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec)
    if subject.name in WITHOUT_WEIGHTS:
        return extract(encoder, photos, about.in_channels, device, skipped=skipped, listener=listener)
    name = re.sub(r"[^\w.]+", "-", source.description)[-40:].strip("-.")
    number = hashlib.sha256(source.description.encode(errors="surrogateescape")).hexdigest()[:8]
    file = subject.home / FOLDER / f"{name}-{number}.npz"
    return kept_features(encoder, source, photos, device, file, skipped=skipped, listener=listener)
