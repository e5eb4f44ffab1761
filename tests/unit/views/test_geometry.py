"""Crop windows and resizing."""

import numpy as np
import pytest
import torch

from byol.views.geometry import crop_resize, crop_window, resize_matrix
from byol.views.parameters import draw
from byol.views.policy import T, ViewPolicy

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 40, 48), dtype=np.uint8))


def test_crop_window_deepmind_stays_inside_and_reaches_every_border() -> None:
    p = draw(T, 4000, 1, 0, 1)
    top, left, height, width = crop_window(p, 30, 50, "deepmind").unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all() and (top + height <= 30).all() and (left + width <= 50).all())
    assert int((top + height).max()) == 30
    assert int((left + width).max()) == 50
    assert int(height.min()) >= 1


def test_crop_window_torchvision_keeps_area_and_aspect_in_range() -> None:
    p = draw(T, 2000, 1, 0, 1)
    _, _, height, width = crop_window(p, 100, 100, "torchvision").float().unbind(1)
    assert float((height * width / 1e4).max()) <= 1.0
    assert float((height * width / 1e4).min()) > 0.07
    assert float((width / height).max()) < 1.4
    assert float((width / height).min()) > 0.7


def test_crop_window_torchvision_impossible_aspect_takes_the_centre() -> None:
    p = draw(ViewPolicy(crop_area=(0.99, 1.0)), 8, 1, 0, 1)
    window = crop_window(p, 10, 100, "torchvision")
    assert window.tolist() == [[0, 43, 10, 13]] * 8


@pytest.mark.parametrize("aspect", [(0.5, 0.8), (1.5, 3.0), (1.1, 1.1), (3 / 4, 4 / 3)])
@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (5, 77), (333, 8)])
def test_crop_window_torchvision_falls_back_to_the_aspect_that_is_set(
    height: int, width: int, aspect: tuple[float, float]
) -> None:
    """All tries are larger than so long an image: torchvision's class then takes the same window each time."""
    from torchvision.transforms import RandomResizedCrop

    p = draw(ViewPolicy(crop_area=(0.9, 1.0), crop_aspect=aspect), 4, 1, 0, 1)
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), [0.9, 1.0], list(aspect))
    assert crop_window(p, height, width, "torchvision").tolist() == [list(expected)] * 4


def test_resize_matrix_rows_sum_to_one_and_identity_is_exact() -> None:
    matrix = resize_matrix(torch.tensor([0.0]), torch.tensor([16.0]), 16, 16)
    assert torch.equal(matrix[0], torch.eye(16))
    shrunk = resize_matrix(torch.tensor([3.0]), torch.tensor([40.0]), 64, 8, antialias=True)
    assert torch.allclose(shrunk.sum(2), torch.ones(1, 8), atol=1e-6)
    assert float(shrunk[0, :, :3].abs().max()) == 0.0


@pytest.mark.parametrize("count", [1, 12])
def test_crop_resize_16_bits_are_the_65535th_parts_and_8_bits_times_257_the_same_view(count: int) -> None:
    window, eight = torch.tensor([[3, 2, 31, 40]] * count), IMAGES[:count]
    deep = torch.from_numpy(eight.numpy().astype(np.uint16) * 257)
    assert torch.allclose(crop_resize(deep, window, 20), crop_resize(eight, window, 20), atol=1e-6)
    plain = torch.from_numpy(np.full((count, 1, 40, 48), 4094, np.uint16))
    assert torch.allclose(crop_resize(plain, window, 20), torch.full((), 4094 / 65535), rtol=1e-5, atol=0)


def test_crop_resize_flip_mirrors() -> None:
    window = torch.tensor([[0, 0, 40, 40]] * 12)
    plain = crop_resize(IMAGES, window, 20)
    flipped = crop_resize(IMAGES, window, 20, flip=torch.arange(12) % 2 == 0)
    assert torch.allclose(flipped[0], plain[0].flip(2), atol=1e-5)
    assert torch.equal(flipped[1], plain[1])
