"""Settings by dotted name: overrides, and those of a command line."""

from typing import Any

import pytest

from byol.config import Config, differences, replaced, settings_on_command_line
from byol.errors import ConfigError


def test_override_dotted_name_replaces_one_value() -> None:
    changed = replaced(Config(), {"optimizer.name": "sgd", "epochs": 20})
    assert differences(Config(), changed) == ["epochs: 300 -> 20.0", "optimizer.name: lars -> sgd"]


def test_override_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.nam'.*'optimizer\.name'"):
        replaced(Config(), {"optimizer.nam": "sgd"})


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
