"""Exports to detectron2: its names, all tensors of a network, and refusals of what it does not have."""

from pathlib import Path

import pytest
import torch

import byol
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.errors import EncoderError
from byol.export.detectron2 import detectron2_name
from byol.nets.encoder import create_encoder


def saved(folder: Path, name: str, **settings: str) -> Path:
    module = create_encoder(name, image_size=64, **settings)  # pyright: ignore[reportArgumentType]
    folder.mkdir()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    save_encoder(folder, module, EncoderDescription(name, dict(settings), module.num_features, 3, 64, mean, std, True))  # pyright: ignore[reportArgumentType]
    return folder


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_var", "stem.conv1.norm.running_var"),
        ("layer1.0.conv3.weight", "res2.0.conv3.weight"),
        ("layer4.2.bn2.bias", "res5.2.conv2.norm.bias"),
        ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
        ("layer3.0.downsample.1.running_mean", "res4.0.shortcut.norm.running_mean"),
    ],
)
def test_names_are_detectron2s(ours: str, theirs: str) -> None:
    assert detectron2_name(ours) == theirs


def test_export_holds_every_tensor_and_the_settings(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "resnet18", stem="imagenet")
    export = byol.export_encoder(run, "detectron2", tmp_path / "out")
    assert "100 tensors" in export.checked and "model.pth" in export.snippet
    tensors = torch.load(tmp_path / "out" / "model.pth", weights_only=True)["model"]
    own = byol.load(run).module.state_dict()
    assert len(tensors) == 100 == sum("num_batches" not in name for name in own)
    assert torch.equal(tensors["res4.0.shortcut.weight"], own["layer3.0.downsample.0.weight"])
    text = (tmp_path / "out" / "detectron2.yaml").read_text()
    assert "DEPTH: 18" in text and "PIXEL_MEAN: [102.0, 127.5, 153.0]" in text and "RES2_OUT_CHANNELS: 64" in text


@pytest.mark.parametrize(
    ("name", "stem", "says"),
    [
        ("resnet10", "imagenet", "depth 18, 34, 50, 101, 152, not resnet10"),
        ("resnet18", "small", "no resnet18 with the small stem"),
    ],
)
def test_network_that_detectron2_lacks_is_refused(tmp_path: Path, name: str, stem: str, says: str) -> None:
    with pytest.raises(EncoderError, match=says):
        byol.export_encoder(saved(tmp_path / "run", name, stem=stem), "detectron2", tmp_path / "out")
    assert not (tmp_path / "out").exists()
