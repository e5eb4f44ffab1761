"""The measured result that a plan is told beside."""

import pytest

from byol.recipes import recipe


@pytest.mark.parametrize(
    ("num_images", "words"),
    [
        (1_000, "less than the 15,000 images"),
        (10_000, "on 15,000 images in all passes: kNN 43"),
        (90_000, "on 150,000 images in all passes: kNN 67"),
        (400_000, "on 440,000 images in all passes: kNN 75"),
        (5_000_000, "on 440,000 images in all passes: kNN 75"),
    ],
)
def test_nearest_measured_result_is_told(num_images: int, words: str) -> None:
    assert words in recipe("small").expectation(num_images)


def test_published_recipe_tells_none() -> None:
    assert recipe("imagenet-300").expectation(10_000) == ""
