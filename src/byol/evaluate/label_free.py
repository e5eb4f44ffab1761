"""Measures of an encoder on images without labels, by which encoders of one architecture are compared."""

import torch
from torch import Tensor
from torch.nn import functional

from byol.data.source import ImageSource, SkippedImages
from byol.diagnostics.measures import measure_encodings
from byol.diagnostics.similarity import unit
from byol.encoder.encoder import Encoder
from byol.evaluate.features import extract
from byol.evaluate.linear import fit_linear
from byol.evaluate.nearest import nearest
from byol.evaluate.view_encodings import ViewedImages, encode_views
from byol.runtime.listener import SILENT, Listener

QUARTER_TURNS = 4
NEIGHBOURS = 10
"""Number of nearest neighbours whose agreement between views is counted."""


def measure_without_labels(
    encoder: Encoder, images: ViewedImages, device: torch.device, vectors: Tensor, listener: Listener = SILENT
) -> dict[str, float]:
    """Measures by name, of the images' (N, D) `vectors` and of two pairs of random views of each.

    `recognised`: share of images whose second view is nearest to their first among all second views. `same_neighbours`:
    share of the ten nearest neighbours that two views have in common. `rotation`: accuracy of a linear classifier of
    quarter turns on images that it was not fitted to, 0.25 by chance (SelfAugment, Reed et al. 2021). The others are `measure_encodings`'.
    """
    count = len(images.source)
    views = encode_views(
        lambda view: {"vector": encoder.encode_views(view)}, images, count, device, SkippedImages(), listener
    )["vector"]
    first, second = unit(views[:, 0]), unit(views[:, 1])
    return {
        **measure_encodings(views),
        "recognised": float((nearest(first, second, 1)[1][:, 0] == torch.arange(len(first))).float().mean()),
        "same_neighbours": _same_neighbours(first, second),
        "rotation": rotation_accuracy(encoder, images.source, images.channels, device, vectors),
    }


def rotation_accuracy(
    encoder: Encoder, source: ImageSource, channels: int, device: torch.device, upright: Tensor
) -> float:
    """Accuracy of telling four quarter turns apart, from 0 to 1, on the second half of the images. `upright`: their (N, D) vectors."""
    turned = [upright] + [extract(_turned(encoder, turns), source, channels, device).vectors for turns in (1, 2, 3)]
    half = len(upright) // 2
    labels = torch.arange(QUARTER_TURNS)
    fitted = torch.cat([part[:half] for part in turned])
    tested = torch.cat([part[half:] for part in turned])
    probe = fit_linear(fitted, labels.repeat_interleave(half))
    return float((probe.predict(tested) == labels.repeat_interleave(len(upright) - half)).float().mean())


def _turned(encoder: Encoder, turns: int) -> Encoder:
    """The encoder of images turned by `turns` quarter turns."""

    class Turned(Encoder):
        def preprocess(self, images: Tensor) -> Tensor:
            return torch.rot90(super().preprocess(images), turns, (2, 3))

    return Turned(encoder.module, encoder.description).to(encoder.mean.device)


def _same_neighbours(first: Tensor, second: Tensor) -> float:
    """Share of the nearest neighbours among the other images that (N, D) unit vectors of two views have in common."""
    neighbours = []
    for part in (first, second):
        cosines = (part @ part.T).fill_diagonal_(-2)
        places = cosines.topk(min(NEIGHBOURS, len(part) - 1), dim=1).indices
        neighbours.append(functional.one_hot(places, len(part)).sum(dim=1))
    return float((neighbours[0] * neighbours[1]).sum() / neighbours[0].sum())
