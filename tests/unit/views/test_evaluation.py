"""The view that evaluation uses."""

import torch

from byol.views.evaluation import centre_view


def test_centre_view_is_the_middle_seven_eighths() -> None:
    image = torch.zeros(1, 1, 256, 320, dtype=torch.uint8)
    image[:, :, 16:240, 48:272] = 255
    assert float(centre_view(image, 224).min()) == 1.0
