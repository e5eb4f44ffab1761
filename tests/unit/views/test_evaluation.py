"""The view that evaluation uses."""

import pytest
import torch

from byol.views.evaluation import centre_view


def test_centre_view_is_the_middle_seven_eighths() -> None:
    image = torch.zeros(1, 1, 256, 320, dtype=torch.uint8)
    image[:, :, 16:240, 48:272] = 255
    assert float(centre_view(image, 224).min()) == 1.0


@pytest.mark.parametrize(("side", "size", "whole"), [(96, 96, True), (96, 97, False), (97, 96, False)])
def test_small_images_are_taken_whole_where_the_views_are_small(side: int, size: int, whole: bool) -> None:
    image = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    image[..., 0, :] = 255
    assert (float(centre_view(image, size).max()) > 0.9) == whole
