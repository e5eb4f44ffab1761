"""The config tree: round trips, overrides, impossible values."""

import json
from typing import Any

import pytest

from byol import recipes
from byol.config import Config, differences, from_dict, replaced, settings_on_command_line, to_dict, validate
from byol.errors import ConfigError
from byol.views.policy import T_PRIME, T


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


def test_view_defaults_equal_the_papers_table() -> None:
    assert (Config().views.view1, Config().views.view2) == (T, T_PRIME)
    assert (T.blur_probability, T.solarize_probability) == (1.0, 0.0)
    assert (T_PRIME.blur_probability, T_PRIME.solarize_probability) == (0.1, 0.2)


def test_override_dotted_name_replaces_one_value() -> None:
    changed = replaced(Config(), {"optimizer.name": "sgd", "epochs": 20})
    assert differences(Config(), changed) == ["epochs: 300 -> 20.0", "optimizer.name: lars -> sgd"]


def test_override_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.nam'.*'optimizer\.name'"):
        replaced(Config(), {"optimizer.nam": "sgd"})


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


def test_recipe_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cifar10'"):
        recipes.recipe("cifar")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0), ("batch_size", 1), ("micro_batch_size", 3), ("seed", -1), ("workers", -2),
        ("log_interval_steps", 0), ("views.size", 4), ("views.size", 100_000), ("views.view1.flip_probability", 1.5),
        ("views.view2.crop_area", (0.0, 1.0)), ("views.view1.crop_area", (0.5, 0.2)), ("views.view1.hue", 0.6),
        ("encoder.width", 0), ("heads.projector_hidden", 0), ("method.tau_base", 1.1), ("optimizer.momentum", 1.0),
        ("method.temperature", 0), ("method.beta", -1), ("method.loss_chunk", -1), ("heads.projector_depth", 0),
        ("encoder.norm_groups", 0), ("optimizer.predictor_rate", -1), ("optimizer.encoder_rate", -1), ("asymmetry.small_crops", -1),
        ("asymmetry.small_size", 4), ("asymmetry.small_area", (0.5, 0.2)), ("asymmetry.split_parts", 1),
        ("optimizer.base_learning_rate", 0), ("optimizer.weight_decay", -1), ("views.mean", (0.5,)),
    ],
)  # fmt: skip
def test_validate_impossible_value_names_the_setting(setting: str, value: Any) -> None:
    name = "views.std" if setting == "views.mean" else setting
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        validate(replaced(Config(), {setting: value}))


def test_validate_lars_rate_with_adamw_is_refused() -> None:
    with pytest.raises(ConfigError, match="are for lars"):
        validate(replaced(Config(), {"optimizer.name": "adamw"}))
    small = {"optimizer.name": "adamw", "optimizer.base_learning_rate": 0.005}  # of 256 images: 0.08 at 4096
    validate(replaced(Config(), {**small, "batch_size": 256}))
    with pytest.raises(ConfigError, match=r"at most 0\.000625 with adamw and batches of 4096"):
        validate(replaced(Config(), {**small, "batch_size": 4096}))


@pytest.mark.parametrize("value", ["many", True, None, 1.5])
def test_override_wrong_type_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        replaced(Config(), {"batch_size": value})


def test_given_settings_are_those_of_the_command_line() -> None:
    words = [
        "--data",
        "photos",
        "--epochs",
        "3",
        "--optimizer.base-learning-rate=0.1",
        "--no-channels-last",
        "--out",
        "epochs",
    ]
    words += ["--heads.no-projector-output-norm", "--view", "--views.size", "-1"]
    expected = {"epochs", "optimizer.base_learning_rate", "channels_last", "heads.projector_output_norm", "views.size"}
    assert settings_on_command_line(words) == expected


def test_view_settings_out_of_their_range_are_refused_by_name() -> None:
    for name, value, wanted in (
        ("flip_probability", 1.5, r"within \[0, 1\]"),
        ("hue", 0.6, r"within \[0, 0\.5\]"),
        ("solarize_threshold", -0.1, r"within \[0, 1\]"),
        ("crop_area", (0.5, 1.2), r"rising, within \(0, 1\]"),
        ("crop_aspect", (2.0, 1.0), "rising, above 0"),
        ("blur_sigma", (0.0, 2.0), "rising, above 0"),
    ):
        with pytest.raises(ConfigError, match=rf"^views\.view2\.{name} must be {wanted}; found "):
            validate(replaced(Config(), {f"views.view2.{name}": value}))
