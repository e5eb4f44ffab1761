"""Compiled gradients of depthwise convolutions: equal to torch's, and used where they are faster."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from byol.nets.compiled.depthwise_conv import DepthwiseConv2d, depthwise_conv, use_depthwise_gradients
from tests.closeness import TOLERANCE, relative_error


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride"),
    [
        ((7, 5), 16, 3, 1),
        ((8, 9), 24, 3, 2),
        ((2, 2), 32, 5, 1),
        ((9, 6), 8, 5, 2),
        ((12, 11), 16, 7, 1),
        ((9, 7), 40, 7, 2),
    ],
)
def test_depthwise_conv_equals_torchs_forward_and_backward(size, channels, kernel, stride, kind) -> None:
    torch.manual_seed(0)
    tensors = (torch.randn(11, channels, *size), torch.randn(channels, 1, kernel, kernel), torch.randn(channels))
    ours = [tensor.to(kind).requires_grad_() for tensor in tensors]
    exact = [tensor.detach().double().requires_grad_() for tensor in ours]
    found = depthwise_conv(ours[0], kernel // 2, ours[1], ours[2], stride)
    expected = functional.conv2d(*exact, stride, kernel // 2, groups=channels)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    expected.backward(gradient.double())
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(found, expected) < TOLERANCE[kind]
    for mine, true in zip(ours, exact, strict=True):
        assert relative_error(mine.grad, true.grad) < TOLERANCE[kind]


def test_depthwise_conv_keeps_what_is_not_finite() -> None:
    x = torch.ones(1, 16, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    depthwise_conv(x, 2, torch.ones(16, 1, 5, 5, dtype=torch.bfloat16), None, 1).backward(
        torch.full((1, 16, 3, 3), torch.nan, dtype=torch.bfloat16)
    )
    assert x.grad is not None and bool(x.grad.isnan().all())


def test_sums_of_depthwise_gradients_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(13, 16, 6, 6), torch.randn(13, 16, 6, 6)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        weight = torch.ones(16, 1, 5, 5, requires_grad=True)
        depthwise_conv(x, 2, weight, None, 1).backward(gradient)
        found.append(weight.grad)
    torch.set_num_threads(before)
    assert all(torch.equal(grad, found[0]) for grad in found[1:])


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto"])
def test_depthwise_gradients_of_timms_encoders(name: str) -> None:
    """TensorFlow's padding in the one, a bias in the other; the same parameters, and torch's gradients."""
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    depthwise = [
        part for part in plain.modules() if isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1
    ]
    assert use_depthwise_gradients(fused) == len(depthwise) > 10
    assert [n for n, _ in fused.named_parameters()] == [n for n, _ in plain.named_parameters()]
    x = torch.randn(3, 3, 64, 64)
    for net in (plain, fused):
        net(x).square().sum().backward()
    for (_, a), (_, b) in zip(fused.named_parameters(), plain.named_parameters(), strict=True):
        assert relative_error(a.grad, b.grad) < 1e-4


def test_depthwise_gradients_are_chosen_where_they_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("byol.nets.compiled.depthwise_conv.depthwise_conv", lambda x, *_: seen.append(x) or x)
    of = {
        "3 x 3": nn.Conv2d(16, 16, 3, padding=1, groups=16),
        "strided": nn.Conv2d(16, 16, 3, 2, padding=1, groups=16),
        "5 x 5": nn.Conv2d(16, 16, 5, padding=2, groups=16),
    }
    not_depthwise = [nn.Conv2d(16, 16, 5, groups=2), nn.Conv2d(16, 32, 5, groups=16), nn.Conv2d(12, 12, 5, groups=12)]
    net = nn.Sequential(*of.values(), *not_depthwise, nn.Conv2d(16, 16, 9, groups=16))
    assert use_depthwise_gradients(net) == 3
    assert all(isinstance(conv, DepthwiseConv2d) for conv in net[:3]) and type(net[-1]) is nn.Conv2d
    chosen = {}
    for name, conv in zip(of, net, strict=False):
        for in_bf16 in (False, True):
            seen.clear()
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                for side in (2, 3, 8):
                    conv(torch.zeros(1, 16, side, side))
            chosen[name, in_bf16] = [x.shape[2] for x in seen]
    assert chosen == {
        ("3 x 3", False): [2],
        ("3 x 3", True): [2],
        ("strided", False): [2],
        ("strided", True): [2, 3, 8],
        ("5 x 5", False): [2, 3, 8],
        ("5 x 5", True): [2, 3, 8],
    }
    seen.clear()
    net[2].double()(torch.zeros(1, 16, 8, 8, dtype=torch.float64))
    assert seen == []
