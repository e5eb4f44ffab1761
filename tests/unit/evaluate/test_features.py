"""Features of images: read in batches, in order, refused where not finite."""

from pathlib import Path

import numpy as np
import pytest
import torch

from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.source import SkippedImages
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import BrokenImageError, EncoderError
from byol.evaluate import features
from byol.evaluate.features import extract


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
def test_features_of_a_diverged_encoder_are_one_sentence(value: float) -> None:
    source = ArrayImages(np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(EncoderError, match=r"not finite or beyond 1e\+15 for .* its training has diverged"):
        extract(lambda images: torch.full((len(images), 2), value), source, 3, torch.device("cpu"))


@pytest.mark.parametrize(("most_bytes", "together"), [(2**28, 8), (2 * 20 * 20 * 3, 2), (1, 1)])
def test_large_images_are_read_a_few_at_a_time_in_the_same_order(
    most_bytes: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MOST_BYTES", most_bytes)
    read, encoded, ahead = set[int](), [], []

    class Images(ArrayImages):
        def read(self, index: int, channels: int, short_side: int = 0) -> np.ndarray:
            read.add(index)
            if index == 5:
                raise BrokenImageError("torn")
            return super().read(index, channels)

    def encode(images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        ahead.append(len(read) - sum(encoded))
        return images.flatten(1).float()[:, :2]

    source, skipped = Images(np.arange(21, dtype=np.uint8).repeat(1200).reshape(21, 20, 20, 3)), SkippedImages()
    found = extract(encode, source, 3, torch.device("cpu"), batch_size=8, skipped=skipped)
    assert found.vectors[:, 0].tolist() == found.indices.tolist() == [i for i in range(21) if i != 5]
    assert skipped.reasons == [("image 5", "torn")]
    assert max(encoded) == together
    assert together == 8 or max(ahead) <= together + 1  # the broken one


def test_encoder_is_given_whole_batches_of_images_that_differ_in_size(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    encoder = Encoder(module, EncoderDescription(None, {}, 5, 3, 8, (0.5,) * 3, (0.2,) * 3, True))
    sizes, encode = [], encoder.encode_preprocessed
    monkeypatch.setattr(encoder, "encode_preprocessed", lambda views: sizes.append(len(views)) or encode(views))
    source = ImageFolder(photos)
    found = extract(encoder, source, 3, torch.device("cpu"), batch_size=16)
    assert sizes == [16, 16, 8]  # of two sizes each
    one_by_one = [encoder(torch.from_numpy(source.read(i, 3)).permute(2, 0, 1)[None])[0] for i in range(40)]
    assert torch.allclose(found.vectors, torch.stack(one_by_one), atol=1e-5)
    assert found.indices.tolist() == list(range(40))
