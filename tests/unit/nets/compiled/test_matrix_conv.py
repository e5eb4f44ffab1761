"""Convolutions as matrix products: equal to torch's, and used where they are faster."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from byol.nets.compiled.matrix_conv import MatrixConv2d, matrix_conv, use_matrix_products
from tests.closeness import TOLERANCE, relative_error


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride"),
    [((7, 5), 16, 3, 1), ((8, 8), 32, 3, 2), ((9, 6), 16, 1, 2), ((9, 7), 16, 3, 2), ((12, 12), 16, 7, 2)],
)
def test_matrix_conv_equals_torchs_forward_and_backward(size, channels, kernel, stride, kind) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, channels, *size).to(kind).requires_grad_()
    weight = torch.randn(48, channels, kernel, kernel).to(kind).requires_grad_()
    expected_x, expected_weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    found = matrix_conv(x, weight, stride, kernel // 2)
    expected = functional.conv2d(expected_x, expected_weight, None, stride, kernel // 2)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    expected.backward(gradient.double())
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(found, expected) < TOLERANCE[kind]
    assert relative_error(x.grad, expected_x.grad) < TOLERANCE[kind]
    assert relative_error(weight.grad, expected_weight.grad) < TOLERANCE[kind]


def test_matrix_conv_is_chosen_for_small_maps_in_bf16_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("byol.nets.compiled.matrix_conv.matrix_conv", lambda x, *_: seen.append(x.shape[2]) or x)
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.Conv2d(16, 16, 3, groups=2, bias=False))
    net.append(nn.Conv2d(3, 16, 3, bias=False))
    assert use_matrix_products(net) == 1
    conv = net[0]
    assert isinstance(conv, MatrixConv2d)
    for side in (4, 7, 8):
        conv(torch.zeros(1, 16, side, side))
        with torch.autocast("cpu", torch.bfloat16):
            conv(torch.zeros(1, 16, side, side))
    assert seen == [4, 7]
