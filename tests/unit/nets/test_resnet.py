"""Our ResNets: parameters as published, the small stem."""

import pytest
import torch

from byol.nets.resnet import ResNet


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
