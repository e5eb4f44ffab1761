"""Measures without labels: what they are on encoders whose answers are known."""

import numpy as np
import torch
from torch import Tensor, nn

from byol.data.arrays import ArrayImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.evaluate.features import extract
from byol.evaluate.label_free import measure_without_labels, rotation_accuracy
from byol.evaluate.view_encodings import ViewedImages
from byol.views.policy import ViewPolicy
from byol.views.views import Views, pair
from tests.conftest import picture

CPU = torch.device("cpu")
PICTURES = np.stack([picture(seed, 32, 32) for seed in range(64)])


class Halves(nn.Module):
    """The mean of each half of an image: upper, lower, left, right."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack(
            [
                images[:, :, :16].mean((1, 2, 3)),
                images[:, :, 16:].mean((1, 2, 3)),
                images[..., :16].mean((1, 2, 3)),
                images[..., 16:].mean((1, 2, 3)),
            ],
            1,
        )


class Whole(nn.Module):
    """The mean of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def encoder(module: nn.Module, width: int) -> Encoder:
    return Encoder(module, EncoderDescription(None, {}, width, 3, 32, (0.0,) * 3, (1.0,) * 3, True))


def bright_above() -> ArrayImages:
    pictures = PICTURES.astype(np.float32) / 4
    pictures[:, :16] += 150
    return ArrayImages(pictures.clip(0, 255).astype(np.uint8))


def test_rotation_is_seen_by_what_tells_halves_apart_and_by_nothing_else() -> None:
    images = bright_above()
    for module, width, low, high in ((Halves(), 4, 0.99, 1.0), (Whole(), 3, 0.0, 0.45)):
        seeing = encoder(module, width)
        upright = extract(seeing, images, 3, CPU).vectors
        assert low <= rotation_accuracy(seeing, images, 3, CPU, upright) <= high


def test_views_that_are_equal_are_recognised() -> None:
    still = ViewPolicy(
        crop_area=(1.0, 1.0),
        crop_aspect=(1.0, 1.0),
        flip_probability=0,
        jitter_probability=0,
        grayscale_probability=0,
        blur_probability=0,
    )
    images = ArrayImages(PICTURES)
    viewed = ViewedImages(images, 3, Views(pair(still, still, 32), 64, 0), 2, 32)
    seeing = encoder(Whole(), 3)
    vectors = extract(seeing, images, 3, CPU).vectors
    found = measure_without_labels(seeing, viewed, CPU, vectors)
    assert found["recognised"] == 1
    assert found["same_neighbours"] == 1
    assert found["alignment"] < 1e-6
