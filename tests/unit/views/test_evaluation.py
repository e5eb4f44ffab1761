"""The view that evaluation uses."""

import numpy as np
import pytest
import torch

from byol.errors import DataError
from byol.views.evaluation import centre_view


def test_centre_view_is_the_middle_seven_eighths() -> None:
    image = torch.zeros(1, 1, 256, 320, dtype=torch.uint8)
    image[:, :, 16:240, 48:272] = 255
    assert float(centre_view(image, 224).min()) == 1.0


def test_centre_view_of_16_bits_is_that_of_their_65535th_parts() -> None:
    random = np.random.default_rng(0)
    deep = torch.from_numpy(random.integers(0, 65536, (2, 5, 120, 100), dtype=np.uint16))
    assert torch.allclose(centre_view(deep, 64), centre_view(deep.float() / 65535, 64), atol=1e-6)
    with pytest.raises(DataError, match=r"uint16 \(0 to 65535\) or floats in \[0, 1\]; found torch.int16"):
        centre_view(deep.view(torch.int16), 64)


@pytest.mark.parametrize(("side", "size", "whole"), [(96, 96, True), (96, 97, False), (97, 96, False)])
def test_small_images_are_taken_whole_where_the_views_are_small(side: int, size: int, whole: bool) -> None:
    image = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    image[..., 0, :] = 255
    assert (float(centre_view(image, size).max()) > 0.9) == whole
