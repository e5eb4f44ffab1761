"""Impossible values are refused by name."""

from typing import Any

import pytest

from byol.config import Config, replaced, validate
from byol.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0), ("batch_size", 1), ("micro_batch_size", 3), ("seed", -1), ("workers", -2),
        ("log_interval_steps", 0), ("views.size", 4), ("views.size", 100_000), ("views.view1.flip_probability", 1.5),
        ("views.view2.crop_area", (0.0, 1.0)), ("views.view1.crop_area", (0.5, 0.2)), ("views.view1.hue", 0.6),
        ("encoder.width", 0), ("heads.projector_hidden", 0), ("method.tau_base", 1.1), ("optimizer.momentum", 1.0),
        ("method.temperature", 0), ("method.beta", -1), ("method.loss_chunk", -1), ("heads.projector_depth", 0),
        ("heads.predictor_average", 1.0), ("heads.predictor_ridge", -0.1), ("heads.predictor_power", 0),
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
