"""Views of images as pictures with words."""

import numpy as np
import pytest
import torch

from byol.data.arrays import ArrayImages
from byol.errors import DataError
from byol.report.view_grid import describe, readable, spread, view_grid
from byol.views.policy import T_PRIME, T, ViewPolicy
from byol.views.sensor import band_changes
from byol.views.views import Views, pair
from tests.conftest import picture


def test_readable_images_are_the_first_that_can_be_read_or_there_is_a_sentence() -> None:
    source = ArrayImages(np.zeros((5, 8, 8, 3), np.uint8), description="pictures")
    images, indices = readable(source, 3, 2, 4)
    assert len(images) == len(indices) == 2
    with pytest.raises(DataError, match="None of the 4 images that were tried in pictures can be decoded"):
        readable(source, 4, 2, 4)


def test_view_grid_shows_what_training_makes_of_the_images() -> None:
    views = Views(pair(T, T_PRIME, 32), batch_size=64, seed=5)
    images = [picture(seed) for seed in range(3)]
    grid = view_grid(views, images, ["a", "b", "c"], draws=2)
    assert (grid.columns, grid.rows, len(grid.tiles)) == (5, 3, 15)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    for step in range(2):
        first, second = views(batch, step)
        for row in range(3):
            for offset, view in ((1, first), (2, second)):
                shown = torch.from_numpy(grid.tiles[5 * row + 2 * step + offset].copy()).permute(2, 0, 1) / 255
                assert float((shown - view[row]).abs().max()) < 0.01


def test_view_words_name_what_was_done_and_nothing_else() -> None:
    views = Views(pair(T, T_PRIME, 32), batch_size=200, seed=0)
    first, second = (views.parameters(view.draw, 0, slice(0, 200)) for view in views.roles)
    for row in range(200):
        for parameters, policy in ((first, T), (second, T_PRIME)):
            p = parameters[row : row + 1]
            words = describe(p, policy, views, np.zeros((40, 48, 3), np.uint8))
            assert ("flip" in words) == bool(p.flip)
            assert ("hue" in words) == ("brightness" in words) == bool(p.jitter)
            assert ("grayscale" in words) == bool(p.grayscale)
            assert (f"blur sigma {float(p.sigma):.2f}" in words) == bool(p.blur)
            assert ("solarize" in words) == bool(p.solarize)
            grey = describe(p, policy, views, np.zeros((40, 48, 1), np.uint8))
            assert "hue" not in grey
            assert "grayscale" not in grey


def test_view_words_name_what_happened_to_bands_and_noise() -> None:
    policy = ViewPolicy(
        vertical_flip_probability=0.5, rotation_probability=0.75, band_jitter_probability=0.5, band_drop_probability=0.3,
        noise_probability=0.5,
    )  # fmt: skip
    views = Views(pair(policy, policy, 32), batch_size=100, seed=0)
    p = views.parameters(views.roles.view1.draw, 0, slice(0, 100))
    for row in range(100):
        words = describe(p[row : row + 1], policy, views, np.zeros((40, 48, 5), np.uint16))
        changes = band_changes(p[row : row + 1], policy, 5)[0]
        lost = [str(1 + band) for band in range(5) if not changes[band].any()]
        assert ("vertical flip" in words) == bool(p.vertical_flip[row])
        turns = int(p.quarter_turns[row])
        assert (f"rotation by {90 * turns} degrees" in words) == ("rotation" in words) == bool(turns)
        assert ("gain" in words) == ("offset" in words) == bool(p.band_jitter[row])
        assert (f"without channel {', '.join(lost)}" in words) == ("without" in words) == bool(lost)
        assert (f"noise sigma {float(p.noise_sigma[row]):.3f}" in words) == ("noise" in words) == bool(p.noise[row])


def test_spread_is_drawn_without_repetition() -> None:
    assert spread(3, 10) == [0, 1, 2]
    assert len(set(spread(1000, 50))) == 50
    assert spread(1000, 50) == spread(1000, 50)
