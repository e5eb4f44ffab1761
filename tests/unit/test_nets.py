"""Initial weights and shapes of the networks."""

import math
from pathlib import Path
from typing import Literal

import pytest
import timm
import torch
from torch import nn

import byol
from byol.build.networks import build_method
from byol.build.subject import open_subject
from byol.config import Config, override
from byol.data.image_folder import ImageFolder
from byol.nets.initialization import initialize
from byol.nets.resnet import ResNet
from byol.runtime.run_directory import RunDirectory
from tests.conftest import SMALL


def test_initialize_deepmind_is_a_normal_over_fan_in_cut_at_two() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 400, 3)
    initialize(layer, "deepmind")
    std = 1 / math.sqrt(16 * 9)
    assert float(layer.weight.detach().abs().max()) <= 2 * std
    assert float(layer.weight.detach().abs().max()) > 1.99 * std
    assert float(layer.weight.detach().std()) == pytest.approx(
        0.8796 * std, rel=0.01
    )  # of a normal cut at two, not rescaled
    assert layer.bias is not None
    assert float(layer.bias.detach().abs().max()) == 0


def test_initialize_torch_is_kaiming_over_fan_out() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 400, 3)
    initialize(layer, "torch")
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (400 * 9)), rel=0.01)


def test_online_classifier_starts_as_the_conventions_say() -> None:
    def classifier(conventions: Literal["torch", "deepmind"]) -> nn.Linear:
        config = override(Config(), SMALL | {"encoder.conventions": conventions})
        found = build_method(config, 3, num_classes=4).classifier
        assert found is not None
        return found

    haiku, own = classifier("deepmind"), classifier("torch")
    std = haiku.in_features**-0.5  # torch's uniform start ends at 1 of it, Haiku's cut normal at 2
    assert 1.5 * std < float(haiku.weight.detach().abs().max()) <= 2 * std
    assert float(haiku.bias.detach().abs().max()) == 0
    assert float(own.weight.detach().abs().max()) <= std
    assert float(own.bias.detach().abs().max()) > 0


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.18), (50, 23.51), (101, 42.50), (152, 58.14), (200, 62.62)])
def test_resnet_parameters_are_as_many_as_published(depth: int, millions: float) -> None:
    with torch.device("meta"):
        net = ResNet(depth)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.02)


@pytest.mark.parametrize("size", [32, 33, 96])
@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
def test_resnet_small_stem_keeps_the_size_until_group_2(size: int, conventions) -> None:
    net = ResNet(18, width=0.125, stem="small", conventions=conventions)
    with torch.no_grad():
        first = net.layer1(net.maxpool(net.conv1(torch.zeros(2, 3, size, size))))
        assert first.shape[2:] == (size, size)
        assert net.layer2(first).shape[2:] == (-(-size // 2), -(-size // 2))


def test_pretrained_weights_keep_the_stem_that_they_come_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On small images, too, where `auto` is another stem for new weights; and the record tells which it was."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: create(name, pretrained=False, **rest))
    source = ImageFolder(photos)
    subject = open_subject("timm:resnet18:pretrained", source)
    assert subject.encoder.module.conv1.kernel_size == (7, 7)
    assert subject.untrained(0).conv1.kernel_size == (7, 7)
    assert open_subject("timm:resnet18", source).encoder.module.conv1.kernel_size == (3, 3)

    settings = {**SMALL, "encoder.width": 1.0, "encoder.pretrained": True}
    run = byol.pretrain(photos, epochs=0.4, out=tmp_path / "run", overrides=settings, say=lambda _: None)
    assert RunDirectory.open(run.path).record()["config"]["encoder"]["stem"] == "imagenet"
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked for weights again"))
    assert run.encoder().module.conv1.kernel_size == (7, 7)
    assert byol.resume(run.path, say=lambda _: None).finished

    began = {**SMALL, "encoder.width": 1.0, "encoder.init": str(run.path)}
    second = byol.pretrain(photos, epochs=0.4, out=tmp_path / "second", overrides=began, say=lambda _: None)
    assert second.encoder().module.conv1.kernel_size == (7, 7)
