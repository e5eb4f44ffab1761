"""Views of images to encode."""

import numpy as np
import pytest
import torch

from byol.evaluate.view_encodings import crops_of
from tests.conftest import picture


@pytest.mark.parametrize(("side", "made_at_once"), [(8, 1), (64, 3)])
def test_views_of_an_image_are_kept_or_the_image_where_that_is_smaller(side: int, made_at_once: int) -> None:
    made = list[int]()

    def crop(image: np.ndarray, step: int, row: int) -> torch.Tensor:
        made.append(step)
        return torch.full((2, 3, 8, 8), float(image[0, 0, 0]) + step + row)

    crops = crops_of(picture(0, side, side), crop, 5, 3)
    assert len(made) == made_at_once
    assert [float(crops(step)[0, 0, 0, 0]) - step for step in range(3)] == [
        float(picture(0, side, side)[0, 0, 0]) + 5
    ] * 3
