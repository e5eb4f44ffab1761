"""View sizes that are chosen from the images, and the view that the encoder takes after training."""

from typing import Any

import pytest

from byol.assembly.settings import Asked, resolve
from byol.config import replaced, validate
from byol.data.profile import DataProfile
from byol.errors import ConfigError
from byol.recipes import recipe


def sizes(short_side: int, **settings: Any) -> tuple[int, int, str]:
    """(view size, side of the encoder's view, stem) of `small` for images of this short side."""
    named = {name.replace("__", "."): value for name, value in settings.items()}
    small = recipe("small")
    seen = DataProfile(3, short_side, (0.5,) * 3, (0.2,) * 3)
    config = resolve(Asked(replaced(small.config, named), small, frozenset(named)), seen, 1000).config
    return config.views.size, config.views.encoded_size, config.encoder.stem


@pytest.mark.parametrize(
    ("short_side", "settings", "expected"),
    [
        (3000, {}, (128, 160, "imagenet")),
        (183, {}, (128, 160, "imagenet")),
        (180, {}, (128, 128, "imagenet")),  # 7/8 of 180 are less than 160
        (120, {}, (120, 120, "imagenet")),
        (96, {}, (96, 96, "small")),
        (32, {}, (32, 32, "small")),
        (3000, {"views__size": 96}, (96, 128, "small")),
        (3000, {"views__size": 64}, (64, 64, "small")),
        (3000, {"views__size": 224}, (224, 224, "imagenet")),  # of stored photos of 288 px
        (3000, {"views__size": 224, "views__stored_side": 0}, (224, 288, "imagenet")),
        (240, {"views__size": 224}, (224, 224, "imagenet")),
        (3000, {"views__encoded_size": 192}, (128, 192, "imagenet")),
        (3000, {"views__encoded_size": 0}, (128, 0, "imagenet")),
        (3000, {"encoder__name": "resnet18", "encoder__pretrained": True}, (224, 224, "imagenet")),
        (3000, {"encoder__name": "vit_tiny_patch16_224"}, (128, 128, "imagenet")),
    ],
)
def test_view_sizes_by_images(short_side: int, settings: dict[str, Any], expected: tuple[int, int, str]) -> None:
    assert sizes(short_side, **settings) == expected


def test_photos_are_stored_large_enough_for_the_encoder() -> None:
    small, seen = recipe("small"), DataProfile(3, 3000, (0.5,) * 3, (0.2,) * 3)
    config = replaced(small.config, {"views.encoded_size": 320})
    assert resolve(Asked(config, small), seen, 1000).config.views.stored_side == 400


@pytest.mark.parametrize("name", ["imagenet-300", "cifar10", "imagenette"])
def test_published_recipes_encode_at_the_view_size(name: str) -> None:
    assert recipe(name).config.views.encoded_size == 0


def test_an_encoded_size_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"views.encoded_size must be -1"):
        validate(replaced(recipe("small").config, {"views.encoded_size": 4}))
