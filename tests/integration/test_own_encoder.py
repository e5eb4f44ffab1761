"""Trainings of a module of one's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import byol
from byol.errors import EncoderError
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES


def test_own_module_trains_and_loads(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layers(images)

    byol.pretrain(
        PICTURES, out=tmp_path / "run", overrides={**SMALL, "epochs": 1}, encoder=Own(), say=lambda line: None
    )
    with pytest.raises(EncoderError, match="module of your own"):
        byol.load(tmp_path / "run")
    assert byol.load(tmp_path / "run", Own())(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


def test_own_encoder_with_shared_weights_is_saved(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = self.first

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(images)).mean(dim=(2, 3))

    settings = {**SMALL, "epochs": 0.5}
    made = byol.pretrain(PICTURES, out=tmp_path / "run", overrides=settings, encoder=Tied(), say=lambda line: None)
    assert made.encoder(Tied()).module.first.weight.shape == (3, 3, 3, 3)


class OneSize(nn.Module):
    """An encoder of images of 96 px alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


LARGE = np.random.default_rng(0).integers(0, 256, (32, 200, 200, 3), dtype=np.uint8)


def test_own_module_encodes_at_the_view_size(tmp_path: Path) -> None:
    settings = {**SMALL, "views.size": 96, "epochs": 1}
    byol.pretrain(LARGE, out=tmp_path / "run", overrides=settings, encoder=OneSize(), say=lambda line: None)
    encoder = byol.load(tmp_path / "run", OneSize())
    assert encoder.description.image_size == 96
    assert encoder(torch.zeros(2, 3, 200, 200)).shape == (2, 8)


def test_an_encoded_size_that_the_encoder_does_not_take_is_refused_before_training(tmp_path: Path) -> None:
    settings = {**SMALL, "views.size": 96, "views.encoded_size": 128, "epochs": 1}
    with pytest.raises(EncoderError, match="does not take images of 3 channels at 128 px"):
        byol.pretrain(LARGE, out=tmp_path / "run", overrides=settings, encoder=OneSize(), say=lambda line: None)
    assert not (tmp_path / "run").exists()
