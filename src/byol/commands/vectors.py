"""Vectors of images that the commands about them share: kept with the encoder, so that each image is read once."""

import hashlib
import os
import re
from pathlib import Path

import torch

from byol.assembly.subject import Subject, home
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages, whole
from byol.data.spec import DataSpec
from byol.encoder.classifier import Classifier
from byol.encoder.encoder import Encoder
from byol.evaluate.features import Features, extract
from byol.evaluate.kept_features import about_vectors, kept_features
from byol.evaluate.protocols.options import WITHOUT_WEIGHTS
from byol.runtime.listener import SILENT, Listener
from byol.runtime.mapped import is_about

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
    makes: bool = False,
) -> Features:
    """Features of all readable images by the subject's encoder, mapped from the file in which they are kept (`vectors_file`).

    Those of `pixels` and `hog` are quick, and are kept only if they are `always` to be. `spec` gives the cache of photos, in which `makes` stores shrunk ones (`shrink_photos`).
    """
    encoder = subject.encoder.to(device)
    about = encoder.description
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec, makes=makes)
    if subject.name in WITHOUT_WEIGHTS and not always:
        return extract(encoder, photos, about.in_channels, device, skipped=skipped, listener=listener)
    file = vectors_file(subject.home, source)
    return kept_features(encoder, source, photos, device, file, skipped=skipped, listener=listener)


def vectors_by(
    classifier: Classifier,
    folder: Path,
    source: ImageSource,
    spec: DataSpec,
    device: torch.device,
    skipped: SkippedImages,
    listener: Listener = SILENT,
) -> Features:
    """Features by the encoder of the classifier in `folder`, kept there, or beside the encoder that it was fitted to if vectors of the same weights are there."""
    fit, about = classifier.about.fit, classifier.description
    encoder = Encoder(classifier.module, about).to(device)
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec)
    origin, weights = str(fit.get("encoder", "")), str(fit.get("vectors") or classifier.about.weights)
    shared = vectors_file(home(origin), source)
    file = shared if is_about(shared, about_vectors(weights)) else vectors_file(folder, source)
    return kept_features(encoder, source, photos, device, file, skipped=skipped, weights=weights, listener=listener)


def vectors_file(folder: Path, source: ImageSource) -> Path:
    """File in the folder vectors/ of `folder`, another one for each source of images; parts of a source share that of the whole."""
    description = whole(source)[0].description
    kind, _, place = description.partition(" ")
    if os.path.exists(place):  # however the user named it
        description = f"{kind} {Path(place).resolve()}"
    name = re.sub(r"[^\w.]+", "-", description)[-40:].strip("-.")
    number = hashlib.sha256(description.encode(errors="surrogateescape")).hexdigest()[:8]
    return folder / FOLDER / f"{name}-{number}.safetensors"
