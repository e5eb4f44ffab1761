"""An encoder beside the baselines, on labelled images."""

import numpy as np
import torch
from torch import Tensor, nn

from byol.data.arrays import ArrayImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.report.comparison import HANDCRAFTED, TRAINED, Comparison, compare
from byol.report.look import Sample

COUNT = 60
LABELS = np.arange(COUNT) % 2


def compared(vectors: Tensor, labels: np.ndarray | None = LABELS, rate: float = 1000.0) -> Comparison | None:
    """The comparison on red and blue images; the classes follow the colour."""
    pixels = np.random.default_rng(0).integers(0, 60, (COUNT, 16, 16, 3), dtype=np.uint8)
    pixels[np.arange(COUNT), :, :, 2 * LABELS] += 150
    source = ArrayImages(pixels, labels, description="colours")
    description = EncoderDescription(None, {}, vectors.shape[1], 3, 16, (0.0,) * 3, (1.0,) * 3, True)
    encoder = Encoder(nn.Flatten(), description)
    sample = Sample(source, np.arange(COUNT))
    return compare(encoder, sample, vectors, torch.device("cpu"), 1.0, rate, seed=0)


def test_encoder_that_sees_nothing_is_behind_colours() -> None:
    found = compared(torch.randn(COUNT, 8, generator=torch.Generator().manual_seed(0)))
    assert found is not None
    assert list(found.scores) == [TRAINED, HANDCRAFTED]  # a module of the user's own cannot be built untrained
    assert found.scores[HANDCRAFTED].value == 100
    assert (found.num_images, found.num_classes) == (COUNT, 2)
    assert found.sentence.startswith(f"This encoder is behind {HANDCRAFTED} (-")
    assert not found.is_ahead


def test_encoder_as_good_as_colours_is_not_called_ahead() -> None:
    found = compared(torch.eye(2)[LABELS])
    assert found is not None and found.scores[TRAINED].value == 100
    assert "not measurably different from" in found.sentence
    assert not found.is_ahead


def test_nothing_is_compared_without_labels_or_time() -> None:
    vectors = torch.eye(2)[LABELS]
    assert compared(vectors, labels=None) is None
    assert compared(vectors, labels=np.zeros(COUNT, np.int64)) is None
    assert compared(vectors, rate=60.0) is None
