"""Tiles, sheets and mosaics of pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from byol.report.tile import mosaic, sheet, tile


def test_tile_of_a_wide_image_is_centred_on_grey() -> None:
    wide = np.full((2, 4, 1), 200, np.uint8)
    made = tile(wide, 4)
    assert made.shape == (4, 4, 3)
    assert (made[[0, 3]] == 128).all()
    assert (made[1:3] == 200).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_tile_shows_any_number_of_channels(channels: int) -> None:
    pixels = np.arange(16 * channels, dtype=np.uint8).reshape(4, 4, channels)
    made = tile(pixels, 4)
    wanted = pixels[..., :3] if channels >= 3 else pixels[..., [0, 0, 0]]
    assert (made == wanted).all()


def test_sheet_holds_the_tiles_row_by_row() -> None:
    tiles = [np.full((8, 8, 3), value, np.uint8) for value in (10, 90, 170, 250, 40)]
    made = sheet(tiles, quality=95)
    assert (made.columns, made.rows) == (3, 2)
    with Image.open(io.BytesIO(base64.b64decode(made.uri.partition(",")[2]))) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape == (16, 24, 3)
    for number, value in enumerate((10, 90, 170, 250, 40)):
        top, left = 8 * (number // 3), 8 * (number % 3)
        assert np.abs(pixels[top + 2 : top + 6, left + 2 : left + 6] - value).max() < 12


def test_mosaic_leaves_gaps() -> None:
    made = mosaic([np.zeros((2, 2, 3), np.uint8)] * 3, columns=2, gap=1)
    assert made.shape == (5, 5, 3)
    assert made[2].min() == made[:, 2].min() == 255
    assert made[3:, 3:].min() == 255
