"""An encoder's images: bytes, floats, and what is no image."""

import numpy as np
import pytest
import torch

from byol.errors import DataError
from tests.conftest import picture
from tests.unit.encoder.flat_encoder import encoder


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((2, 3, 20, 20), 200), r"found torch\.int64"),
        (torch.full((2, 3, 20, 20), 200, dtype=torch.int32), r"found torch\.int32"),
        (torch.ones(2, 3, 20, 20, dtype=torch.bool), r"found torch\.bool"),
        (torch.linspace(0, 255, 1200).view(1, 3, 20, 20), r"found 0 to 255\. Divide by 255"),
        (torch.linspace(-1, 1, 1200).view(1, 3, 20, 20), r"not normalised; found -1 to 1"),
    ],
)
def test_images_that_are_no_pixels_are_refused(images: torch.Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        encoder()(images)


def test_images_as_bytes_and_as_floats_are_the_same() -> None:
    images = torch.from_numpy(np.stack([picture(i, 20, 24) for i in range(2)])).permute(0, 3, 1, 2)
    expected = encoder()(images)
    torch.testing.assert_close(encoder()(images / 255), expected)
    torch.testing.assert_close(encoder()(images / 255 * (1 + 1e-4)), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(encoder()(images.double() / 255), expected)
