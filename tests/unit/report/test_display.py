"""Images of any depth and number of channels as pictures."""

import numpy as np
import pytest

from byol.errors import DataError
from byol.report.display import display
from byol.report.tile import tile


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bit_grey_and_colour_is_shown_as_it_is(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, channels), dtype=np.uint8)
    show = display([pixels])
    assert show.words == ""
    assert (show(pixels) == pixels).all()
    assert (show(pixels / 255) == pixels).all()
    assert (show(pixels.astype(np.uint16) * 257) == pixels).all()


def test_deep_bands_are_stretched_by_the_percentiles_of_all_images_together() -> None:
    """1,000 values in the images together: the 2nd percentile of 0..999 is 19.98, the 98th 979.02."""
    values = np.arange(1000, dtype=np.uint16)
    images = [np.stack([part, 2 * part, 3 * part, 0 * part], axis=1).reshape(20, 25, 4) for part in np.split(values, 2)]
    show = display(images)
    assert show.words.startswith("channels 1, 2, 3 of 4 as red, green and blue, from the 2nd percentile")
    for image, first in zip(images, (0, 500), strict=True):
        expected = (255 * ((np.arange(first, first + 500) - 19.98) / (979.02 - 19.98)).clip(0, 1)).round()
        picture = show(image)
        assert picture.shape == (20, 25, 3)
        assert np.abs(picture.reshape(-1, 3) - expected[:, None]).max() <= 1
        assert (show(image / 65535) == picture).all()


def test_named_channels_are_red_green_and_blue_and_a_constant_one_is_black() -> None:
    image = np.stack([np.full((8, 8), 7), np.arange(64).reshape(8, 8), np.arange(64)[::-1].reshape(8, 8)], axis=2)
    image = image.astype(np.uint16)
    picture = display([image], (3, 2, 1))(image)
    assert picture[0, 0].tolist() == [255, 0, 0] and picture[-1, -1].tolist() == [0, 255, 0]
    grey = display([image], (2,))(image)
    assert (grey == picture[..., [1, 1, 1]]).all()


@pytest.mark.parametrize("channels", [(0, 1, 2), (1, 2), (4, 3, 2)])
def test_channels_that_are_not_there_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="one or three numbers from 1 to 3; found"):
        display([np.zeros((4, 4, 3), np.uint8)], channels)


def test_tile_of_16_bits_is_stretched() -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8, 1)
    made = tile(deep, 8)
    assert made.dtype == np.uint8 and made[0, 0].tolist() == [0, 0, 0] and made[7, 7].tolist() == [255, 255, 255]
