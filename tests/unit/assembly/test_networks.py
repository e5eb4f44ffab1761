"""Networks and methods from a config."""

from typing import Literal

from torch import nn

from byol.assembly.networks import build_method
from byol.config import Config, replaced
from tests.conftest import SMALL


def test_online_classifier_starts_as_the_conventions_say() -> None:
    def classifier(conventions: Literal["torch", "deepmind"]) -> nn.Linear:
        config = replaced(Config(), SMALL | {"encoder.conventions": conventions})
        found = build_method(config, 3, num_classes=4).classifier
        assert found is not None
        return found

    haiku, own = classifier("deepmind"), classifier("torch")
    std = haiku.in_features**-0.5  # torch's uniform start ends at 1 of it, Haiku's cut normal at 2
    assert 1.5 * std < float(haiku.weight.detach().abs().max()) <= 2 * std
    assert float(haiku.bias.detach().abs().max()) == 0
    assert float(own.weight.detach().abs().max()) <= std
    assert float(own.bias.detach().abs().max()) > 0
