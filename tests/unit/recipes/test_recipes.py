"""Recipes: round trips, published values, names."""

import json

import pytest

from byol import recipes
from byol.config import Config, changed_settings, from_dict, to_dict, validate
from byol.errors import ConfigError


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipe_any_survives_json_and_validates(name: str) -> None:
    config = recipes.recipe(name).config
    validate(config)
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_recipe_paper_presets_hold_the_published_values() -> None:
    rows = {
        "imagenet-40": (40, 4096, 0.45, 1e-6, 0.97),
        "imagenet-100": (100, 4096, 0.45, 1e-6, 0.99),
        "imagenet-300": (300, 4096, 0.3, 1e-6, 0.99),
        "imagenet-1000": (1000, 4096, 0.2, 1.5e-6, 0.996),
        "imagenet-1000-batch-512": (1000, 512, 0.4, 1.5e-6, 0.9995),
    }
    for name, expected in rows.items():
        c = recipes.recipe(name).config
        found = (c.epochs, c.batch_size, c.optimizer.base_learning_rate, c.optimizer.weight_decay, c.method.tau_base)
        assert found == expected
        assert (c.optimizer.name, c.optimizer.momentum, c.optimizer.trust_coefficient) == ("lars", 0.9, 1e-3)
        assert (c.heads.projector_hidden, c.heads.projector_output, c.heads.predictor_hidden) == (4096, 256, 4096)
        assert (c.views.semantics, c.views.antialias, c.optimizer.warmup_epochs) == ("deepmind", False, 10)


def test_recipe_simclr_and_simsiam_hold_the_published_values() -> None:
    c = recipes.recipe("simclr-imagenet").config
    assert (c.method.name, c.method.temperature, c.epochs, c.batch_size) == ("simclr", 0.1, 100, 4096)
    assert (c.optimizer.name, c.optimizer.base_learning_rate, c.optimizer.weight_decay) == ("lars", 0.3, 1e-6)
    assert (c.heads.projector_output, c.heads.projector_output_norm, c.views.view1 == c.views.view2) == (
        128,
        True,
        True,
    )
    v = c.views.view1
    assert (v.brightness, v.contrast, v.saturation, v.hue, v.blur_probability) == (0.8, 0.8, 0.8, 0.2, 0.5)
    assert recipes.recipe("simclr-cifar10").config.method.temperature == 0.5
    c = recipes.recipe("simsiam-imagenet").config
    assert (c.method.name, c.epochs, c.batch_size, c.optimizer.decay_all) == ("simsiam", 100, 512, True)
    assert (c.optimizer.name, c.optimizer.base_learning_rate, c.optimizer.weight_decay) == ("sgd", 0.05, 1e-4)
    h = c.heads
    assert (h.projector_depth, h.projector_hidden, h.projector_output, h.predictor_hidden) == (3, 2048, 2048, 512)
    c = recipes.recipe("simsiam-cifar10").config
    assert (c.optimizer.base_learning_rate, c.optimizer.weight_decay, c.heads.projector_depth) == (0.03, 5e-4, 2)


def test_recipes_for_scans_and_satellites_are_small_with_other_views() -> None:
    small = recipes.recipe("small")
    for name in ("scan", "satellite"):
        found = recipes.recipe(name)
        assert {setting.rpartition(".")[0] for setting in changed_settings(small.config, found.config)} == {
            "views.view1",
            "views.view2",
        }
        assert (found.sizes, found.with_weights, found.adapts_batch) == (small.sizes, small.with_weights, True)
        assert found.expectation(100_000) == ""
        for view in (found.config.views.view1, found.config.views.view2):
            assert (view.jitter_probability, view.grayscale_probability, view.solarize_probability) == (0, 0, 0)
            assert min(view.vertical_flip_probability, view.rotation_probability, view.band_jitter_probability) > 0


def test_recipe_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cifar10'"):
        recipes.recipe("cifar")
