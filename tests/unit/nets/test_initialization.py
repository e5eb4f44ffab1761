"""Initial weights as torch or as DeepMind draws them, or set from data."""

import math

import pytest
import torch
from torch import nn

from byol.nets.initialization import initialize, initialize_from_data
from byol.nets.replace_norm import ChannelAffineNorm


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


def test_initialize_from_data_standardises_every_layer_of_the_first_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), ChannelAffineNorm(8), nn.ReLU(), nn.Conv2d(8, 4, 3), ChannelAffineNorm(4)
    )
    images = 5 + 3 * torch.randn(16, 3, 12, 12)
    assert initialize_from_data(network, lambda: network(images)) == 2
    for end in (2, 5):
        out = network[:end](images)
        assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4)
        assert torch.allclose(out.std((0, 2, 3)), torch.ones(out.shape[1]), atol=1e-2)
    other = network(images[:4])  # what was set stays
    assert not torch.allclose(other.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
