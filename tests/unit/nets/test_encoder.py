"""Encoders by name: width, weights, features."""

import pytest
import torch
from torch import nn

from byol.errors import EncoderError
from byol.nets.encoder import create_encoder, find_num_features, pretrained_normalization


@pytest.mark.parametrize(
    ("name", "features"),
    [("resnet18", 512), ("resnet50", 2048), ("vit_tiny_patch16_224", 192), ("mobilenetv3_small_050", 1024)],
)
def test_encoder_width_is_found(name: str, features: int) -> None:
    assert find_num_features(create_encoder(name, image_size=64, in_channels=1), 1, 64) == features


def test_encoder_with_unknown_weights_is_one_sentence() -> None:
    with pytest.raises(EncoderError, match=r"timm has no weights 'resnet50.a1_in1'. Did you mean 'resnet50.a1_in1k'"):
        create_encoder("resnet50.a1_in1", pretrained=True)
    with pytest.raises(EncoderError, match=r"timm has no weights 'resnet50.a1_in1'"):
        pretrained_normalization("resnet50.a1_in1")


def test_encoder_resnet_takes_torchvisions_weights() -> None:
    from torchvision.models import resnet50

    theirs = resnet50()
    theirs.fc = nn.Identity()
    ours = create_encoder("resnet50")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_encoder_width_multiplies_every_channel() -> None:
    wide = create_encoder("resnet50", width=2)
    assert wide.num_features == 4096
    assert sum(p.numel() for p in wide.parameters()) == pytest.approx(94e6, rel=0.01)
