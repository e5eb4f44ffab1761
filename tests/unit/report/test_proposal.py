"""The recipe that is proposed for images."""

import numpy as np
import pytest

from byol.data.arrays import ArrayImages
from byol.report.proposal import FEWEST, middle_and_top, proposal


def pictures(count: int, kind: str) -> np.ndarray:
    """(N, 40, 40, 3) uint8: noise; with `subject` flat around the middle, with `sky` brighter above."""
    random = np.random.default_rng(0)
    images = random.integers(60, 160, (count, 40, 40, 3))
    if kind == "subject":
        border = np.ones((40, 40), bool)
        border[10:30, 10:30] = False
        images[:, border] = 100
    if kind == "sky":
        images[:, :20] += random.integers(0, 80, (count, 1, 1, 1))
    return images.astype(np.uint8)


def proposed(images: np.ndarray) -> str:
    found = proposal(ArrayImages(images, description="pictures"), images.shape[3])
    return "" if found is None else found.recipe


def test_channels_decide_where_they_are_not_three() -> None:
    assert proposed(pictures(20, "")[..., :1]) == "scan"
    assert proposed(np.concatenate([pictures(20, "")] * 4, axis=3)) == "satellite"
    assert proposed(pictures(20, "")[..., :2]) == "satellite"


@pytest.mark.parametrize(("kind", "recipe"), [("", "satellite"), ("subject", ""), ("sky", "")])
def test_colour_pictures_without_subject_and_up_are_pictures_from_above(kind: str, recipe: str) -> None:
    assert proposed(pictures(FEWEST, kind)) == recipe


def test_too_few_pictures_tell_nothing() -> None:
    assert proposed(pictures(FEWEST - 1, "")) == ""


def test_middle_and_top_are_the_logarithm_of_the_gradient_and_brightness_by_hand() -> None:
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:32] = 255
    middle, top = middle_and_top(halves)
    busy = np.log(1.01) - np.log(0.01)  # on one row of 63: 31 of 961 pixels of the middle, 32 of 3008 of the border
    assert middle == pytest.approx(busy / 31 - busy * 32 / 3008, rel=1e-6)
    assert top == pytest.approx(1 / 0.501, rel=1e-6)
