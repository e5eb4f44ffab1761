"""Tiny encoders and labelled pictures that unit tests of several folders use."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.nets.encoder import create_encoder

TINY = {"width": 0.125}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = create_encoder("resnet10", in_channels=3, image_size=16, **TINY)
    (tmp_path / "encoder").mkdir()
    description = EncoderDescription("resnet10", TINY, module.num_features, 3, 16, (0.5,) * 3, (0.25,) * 3, True)
    save_encoder(tmp_path / "encoder", module, description)
    return tmp_path / "encoder"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """train (60) and test (30) pictures of 16 px in three classes that a colour tells apart, and noise."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 10)):
        for label, name in enumerate(("red", "green", "blue")):
            folder = tmp_path / "colours" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 120, (16, 16, 3)).astype(np.uint8)
                pixels[..., label] += 90
                Image.fromarray(pixels).save(folder / f"{part}-{name}-{i:02d}.png")
    return tmp_path / "colours"


@pytest.fixture
def resnet18() -> torch.nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval()
