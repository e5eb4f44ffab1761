"""Operators compiled for CPUs: equal to torch's, in float32 closely and in bf16 to its rounding; and how they are built."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.methods.byol import BYOL, Network
from byol.nets.compiled.depthwise_conv import DepthwiseConv2d, depthwise_conv, use_depthwise_gradients
from byol.nets.compiled.fused_norm import FusedBatchNorm, FusedGroupNorm, _kernels, add_and_relu, fuse_norms, norm_relu
from byol.nets.compiled.matrix_conv import MatrixConv2d, matrix_conv, use_matrix_products
from byol.nets.heads import mlp_head
from byol.nets.norm import Conventions, DeepMindBatchNorm, batch_norm_2d, set_newest_share
from byol.nets.resnet import ResNet
from byol.optim.groups import create_optimizer
from byol.optim.lars import LARS
from byol.runtime import kernels
from byol.runtime.hardware import choose_channels_last, choose_kernels, fuses_views

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def error(found: Tensor | None, expected: Tensor | None) -> float:
    """Relative L2 distance."""
    assert found is not None and expected is not None
    return float((found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm())


def test_operators_are_built_here() -> None:
    """All other tests of this file mean something only where there is a compiler; this machine has one."""
    assert kernels.prepare() == ""
    assert {source.name for source in kernels.SOURCES} >= {"fused_norm.cpp", "matrix_conv.cpp", "depthwise_conv.cpp"}


def check_fused(plain: nn.Module, x: Tensor, *, with_residual: bool, relu: bool) -> tuple[nn.Module, nn.Module]:
    """Forward and backward of the fused form against torch's in float64; returns both."""
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    fused = nn.Sequential(copy.deepcopy(plain))
    assert fuse_norms(fused) == 1
    plain, kind = plain.double(), x.dtype
    residual = torch.randn(x.shape).to(kind).requires_grad_() if with_residual else None
    expected_x = x.detach().double().requires_grad_()
    expected_residual = residual.detach().double().requires_grad_() if residual is not None else None
    gradient = torch.randn(x.shape).to(kind)

    found = fused[0](x.requires_grad_(), residual, relu=relu)
    assert "_Fused" in type(found.grad_fn).__name__
    expected = add_and_relu(plain(expected_x), expected_residual, relu=relu)
    found.backward(gradient)
    expected.backward(gradient.double())
    loose = 30 if kind == torch.float32 else 1  # a mean of 40 and a deviation of 3 cost float32 a digit
    assert found.dtype == kind
    assert error(found, expected) < loose * TOLERANCE[kind]
    assert error(x.grad, expected_x.grad) < loose * TOLERANCE[kind]
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        assert error(ours.grad, theirs.grad) < loose * TOLERANCE[kind]
    if residual is not None and expected_residual is not None:
        assert error(residual.grad, expected_residual.grad) < TOLERANCE[kind]
    return fused[0], plain


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize(("channels", "make"), [(16, nn.BatchNorm2d), (80, DeepMindBatchNorm)])
def test_fused_norm_equals_torchs_forward_and_backward(channels, make, with_residual, relu, kind) -> None:
    torch.manual_seed(0)
    x = (3 * torch.randn(6, channels, 9, 7) + 40).to(kind)
    fused, plain = check_fused(make(channels), x, with_residual=with_residual, relu=relu)
    for name in ("running_mean", "running_var"):
        assert error(getattr(fused, name), getattr(plain, name)) < 1e-5
    assert fused.num_batches_tracked == plain.num_batches_tracked == 1


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize(
    ("channels", "groups", "size"), [(16, 8, (12, 11)), (80, 5, (9, 7)), (16, 1, (1, 1)), (48, 48, (3, 2))]
)
def test_fused_group_norm_equals_torchs_forward_and_backward(channels, groups, size, with_residual, relu, kind) -> None:
    torch.manual_seed(0)
    x = (3 * torch.randn(6, channels, *size) + torch.linspace(20, 60, 6).view(-1, 1, 1, 1)).to(kind)
    fused, _ = check_fused(nn.GroupNorm(groups, channels), x, with_residual=with_residual, relu=relu)
    assert isinstance(fused, FusedGroupNorm)


def test_fused_group_norm_keeps_images_apart_and_passes_nan_on() -> None:
    fused = nn.Sequential(nn.GroupNorm(4, 16))
    fuse_norms(fused)
    x = torch.randn(3, 16, 5, 5)
    alone = fused[0](x[2:], relu=True)
    x[0, 5, 1, 1] = float("nan")
    out = fused[0](x, relu=True)
    assert out[0, 4:8].isnan().all() and out[0, [3, 8]].isfinite().all()
    assert torch.equal(out[2:], alone)


def test_fused_norm_gives_the_same_bits_every_time() -> None:
    """On more threads than there are cores, which end in another order each time."""
    torch.manual_seed(0)
    x = torch.randn(64, 16, 20, 20) * torch.logspace(-6, 6, 64).view(-1, 1, 1, 1)  # sums that float64 has to round
    x, mean = x.to(memory_format=torch.channels_last), torch.zeros(16)
    norm = mean + 1, mean, mean, mean + 1  # scale, shift, mean and inverse deviation
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        found = set()
        for _ in range(50):
            sums = torch.empty(2, 16, dtype=torch.float64)
            addresses = [tensor.data_ptr() for tensor in (x, x, x, *norm)]
            _kernels().norm_backward_sums(*addresses, 64 * 400, 16, None, sums.data_ptr(), False, False)
            found.add(tuple(sums.flatten().tolist()))
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
    assert error(sums[0], x.double().sum(dim=(0, 2, 3))) < 1e-5


@pytest.mark.parametrize("plain", [nn.BatchNorm2d(16), nn.GroupNorm(4, 16)])
def test_a_hook_is_shown_what_the_norm_alone_gives(plain: nn.Module) -> None:
    """So that scales and shifts that start from data are the same with the fused operators."""
    torch.manual_seed(0)
    x, residual = torch.randn(2, 4, 16, 3, 3)
    fused, seen = nn.Sequential(copy.deepcopy(plain)), []
    fuse_norms(fused)
    handle = fused[0].register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    with_hook = norm_relu(fused[0], x, residual)
    handle.remove()
    assert error(seen[0], plain(x)) < 1e-5
    assert error(norm_relu(fused[0], x, residual), with_hook) < 1e-5


def test_fused_norm_in_bf16_is_that_of_float32_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 32, 5, 5).bfloat16()
    found = [nn.Sequential(nn.BatchNorm2d(32)) for _ in range(2)]
    for net in found:
        fuse_norms(net)
    assert torch.equal(found[0](x), found[1](x.float()).bfloat16())


def test_fused_norm_passes_nan_on() -> None:
    fused = nn.Sequential(nn.BatchNorm2d(16))
    fuse_norms(fused)
    for kind in (torch.float32, torch.bfloat16):
        x = torch.randn(2, 16, 3, 3).to(kind)
        x[0, 3, 1, 1] = float("nan")
        out = fused[0](x, relu=True)
        assert out[:, 3].isnan().all() and out[:, [0, 15]].isfinite().all()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(16), nn.GroupNorm(4, 16)])
def test_fused_norm_never_reads_weights_of_another_type_or_number(norm: nn.Module) -> None:
    fused = nn.Sequential(norm)
    fuse_norms(fused)
    with pytest.raises((RuntimeError, ValueError), match=r"32"):  # torch's own refusals
        fused(torch.rand(2, 32, 3, 3))
    with pytest.raises(RuntimeError, match="type"):
        fused.double()(torch.rand(2, 16, 3, 3))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(16), nn.GroupNorm(4, 16)])
def test_fused_norm_of_an_infinite_value_is_not_a_number_as_torchs_is(norm: nn.Module) -> None:
    fused = nn.Sequential(copy.deepcopy(norm))
    fuse_norms(fused)
    x = torch.randn(3, 16, 5, 5)
    x[0, 5, 4, 3] = torch.inf  # no row of the few whose mean is taken first
    assert torch.equal(fused(x).isnan(), norm(x).isnan())


def test_fused_norm_takes_torchs_way_where_it_does_not_fit() -> None:
    torch.manual_seed(0)
    for plain, x in (
        (nn.BatchNorm2d(12), torch.randn(4, 12, 3, 3)),
        (nn.BatchNorm2d(16).double(), torch.randn(4, 16, 3, 3).double()),
        (nn.BatchNorm2d(16).eval(), torch.randn(4, 16, 3, 3)),
        (nn.GroupNorm(4, 12), torch.randn(4, 12, 3, 3)),
        (nn.GroupNorm(4, 16).double(), torch.randn(4, 16, 3, 3).double()),
        (nn.GroupNorm(4, 16), torch.randn(4, 16)),
        (nn.GroupNorm(4, 16).eval(), torch.randn(4, 16, 3, 3)),
    ):
        fused = nn.Sequential(copy.deepcopy(plain))
        fuse_norms(fused)
        assert torch.equal(fused(x), plain(x))


@pytest.mark.parametrize("make", [nn.BatchNorm2d, DeepMindBatchNorm])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_fused_norm_refuses_one_value_per_channel_as_torch_does(make, kind) -> None:
    fused = nn.Sequential(make(16))
    fuse_norms(fused)
    before = copy.deepcopy(fused[0].running_mean)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        fused(torch.ones(1, 16, 1, 1, dtype=kind))
    assert torch.equal(fused[0].running_mean, before)
    for shape in ((2, 16, 1, 1), (1, 16, 2, 1)):
        assert fused(torch.ones(shape, dtype=kind)).isfinite().all()
    assert fused.eval()(torch.ones(1, 16, 1, 1)).isfinite().all()


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
    assert error(found, expected) < TOLERANCE[kind]
    assert error(x.grad, expected_x.grad) < TOLERANCE[kind]
    assert error(weight.grad, expected_weight.grad) < TOLERANCE[kind]


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
    assert error(found, expected) < TOLERANCE[kind]
    for mine, true in zip(ours, exact, strict=True):
        assert error(mine.grad, true.grad) < TOLERANCE[kind]


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
        assert error(a.grad, b.grad) < 1e-4


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


@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
def test_training_with_fused_operators_in_float32_equals_torchs_in_float64(conventions: Conventions) -> None:
    """Four steps of BYOL with LARS on a ResNet-10: losses, weights, target, averages. torch's float32 is held to the same."""
    torch.manual_seed(0)
    network = Network(ResNet(10, width=0.25, stem="small", conventions=conventions), mlp_head(128, 32, 16, conventions))
    made = BYOL(network, mlp_head(16, 32, 16, conventions), mean=(0.5,) * 3, std=(0.25,) * 3)
    fused = copy.deepcopy(made).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    assert fuse_norms(fused) == (2 * 12 if conventions == "torch" else 2 * 13 + 3)  # Haiku's are also in the heads
    assert fused.state_dict().keys() == made.state_dict().keys()
    exact = four_steps(copy.deepcopy(made).double(), fused=False)
    errors = [
        {name: error(value, exact[name]) for name, value in found.items() if float(exact[name].norm()) > 1e-6}
        for found in (four_steps(made, fused=False), four_steps(fused, fused=True))
    ]
    for found in errors:  # a ReLU now and then decides otherwise in float32, torch's too
        assert len(found) > 60
        assert max(found.values()) < 2e-2
        assert found["losses"] < 1e-3


def four_steps(method: BYOL, *, fused: bool) -> dict[str, Tensor]:
    """The losses, and every weight and average after the last step."""
    optimizer = create_optimizer(method.trained_modules(), weight_decay=1e-3, trust_coefficient=1e-2, fused=fused)
    losses = []
    for step in range(4):
        views = torch.rand(2, 16, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        output = method(*views.to(next(method.parameters()).dtype))
        output.loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        optimizer.step()
        optimizer.zero_grad()
        method.update_target(0.9)
        losses.append(output.loss.detach())
    assert not 0.95 < losses[3] / losses[0] < 1.05
    return {"losses": torch.stack(losses), **{n: t for n, t in method.state_dict().items() if t.is_floating_point()}}


def test_fused_lars_equals_torchs() -> None:
    torch.manual_seed(0)
    shapes = [(40, 30), (7,), (16, 8, 3, 3), (50_001,), (4, 4)]

    def run(fused: bool) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        weights[2] = nn.Parameter(weights[2].detach().contiguous(memory_format=torch.channels_last))
        weights[4] = nn.Parameter(torch.zeros(4, 4))  # its norm is 0
        groups = [
            {"params": weights[:3] + weights[4:], "adapt": True, "weight_decay": 1e-2},
            {"params": weights[3:4], "adapt": False},
        ]
        optimizer = LARS(groups, lr=0.3, fused=fused)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        return [*(w.detach() for w in weights), *(optimizer.state[w]["momentum_buffer"] for w in weights)]

    for found, expected in zip(run(True), run(False), strict=True):
        assert error(found, expected) < 1e-6


def test_fused_lars_does_not_depend_on_the_number_of_threads() -> None:
    def run(threads: int) -> Tensor:
        torch.set_num_threads(threads)
        weight = nn.Parameter(torch.arange(100_000.0).sin())
        weight.grad = torch.arange(100_000.0).cos()
        LARS([weight], lr=0.3, fused=True).step()
        return weight.detach()

    assert torch.equal(run(1), run(2))


def test_kernels_are_chosen_by_name_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernels("auto", CPU).kind == choose_kernels("fused", CPU).kind == "fused"
    assert choose_kernels("native", CPU).kind == "native"
    assert choose_kernels("compile", CPU).kind == "compile"
    assert choose_kernels("auto", torch.device("cuda")).kind == "native"
    assert "CPU" in choose_kernels("fused", torch.device("cuda")).notice
    assert [fuses_views(name) for name in ("auto", "fused", "native", "compile")] == [True, True, False, False]
    monkeypatch.setattr(kernels, "find_compiler", lambda: None)
    kernels.prepare.cache_clear()
    try:
        for name in ("auto", "fused", "compile"):
            found = choose_kernels(name, CPU)
            assert found.kind == "native" and "compiler" in found.notice
    finally:
        kernels.prepare.cache_clear()


def test_channels_last_is_left_out_where_it_computes_wrongly() -> None:
    assert [choose_channels_last(True, torch.device(name)) for name in ("cpu", "cuda", "mps")] == [True, True, False]
    assert not choose_channels_last(False, CPU)


def test_kernels_are_built_once_and_a_broken_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "twice.cpp"
    source.write_text('extern "C" int twice(int x) { return 2 * x; }\n')
    monkeypatch.setattr(kernels, "SOURCES", (source,))
    monkeypatch.setattr(kernels, "DEFAULT_CACHE", tmp_path / "cache")
    kernels.prepare.cache_clear()
    try:
        assert kernels.prepare() == ""
        (built,) = (tmp_path / "cache").iterdir()
        assert kernels.library(source).twice(21) == 42
        when = built.stat().st_mtime_ns
        kernels.prepare.cache_clear()
        assert kernels.prepare() == "" and built.stat().st_mtime_ns == when
        (tmp_path / "three.h").write_text("constexpr int THREE = 3;\n")
        source.write_text('#include "three.h"\nextern "C" int twice(int x) { return THREE * x; }\n')
        kernels.prepare.cache_clear()
        kernels.library.cache_clear()
        assert kernels.prepare() == "" and kernels.library(source).twice(7) == 21
        (tmp_path / "three.h").write_text("constexpr int THREE = 4;\n")
        kernels.prepare.cache_clear()
        kernels.library.cache_clear()
        assert kernels.prepare() == "" and kernels.library(source).twice(7) == 28
        source.write_text("no C++\n")
        kernels.prepare.cache_clear()
        assert "cannot build twice.cpp" in kernels.prepare()
    finally:
        kernels.prepare.cache_clear()


def test_a_build_that_fails_leaves_neither_files_nor_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, started = tmp_path / "compiler", tmp_path / "started"
    compiler.write_text(
        f"""#!/bin/sh
case "$*" in
*-dM*) exit 0 ;;
*bad.cpp*)
    while [ ! -s {started} ]; do sleep 0.01; done
    echo "bad.cpp: not today" >&2
    exit 1 ;;
esac
for last; do :; done
touch "$last"
echo $$ > {started}
exec sleep 60
"""
    )
    compiler.chmod(0o755)
    sources = tuple(tmp_path / name for name in ("bad.cpp", "slow.cpp"))
    for source in sources:
        source.write_text(source.name)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(kernels, "SOURCES", sources)
    monkeypatch.setattr(kernels, "DEFAULT_CACHE", tmp_path / "cache")
    kernels.prepare.cache_clear()
    try:
        assert kernels.prepare() == f"{compiler} cannot build bad.cpp (bad.cpp: not today)"
    finally:
        kernels.prepare.cache_clear()
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_freed_memory_is_kept_where_a_cpu_trains() -> None:
    """A large block that is freed and taken again is not faulted in anew, page by page."""
    measure = """if True:
        import resource, sys, torch
        from byol.runtime.hardware import keep_freed_memory

        if sys.argv[1] == "kept":
            keep_freed_memory(torch.device("cpu"))
        torch.ones(2**24)
        faults = []
        for _ in range(20):  # the heap takes some rounds to settle
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        print(min(faults))
    """

    def faults(how: str) -> int:
        """In a process of its own: what other tests left of the heap is not in it."""
        return int(subprocess.check_output([sys.executable, "-c", measure, how], text=True))

    assert faults("kept") < 2**10 < faults("as usual")  # of 2^14 pages


def test_norms_are_left_as_they_are_where_they_are_not_plain() -> None:
    net = nn.Sequential(nn.BatchNorm2d(16, affine=False), nn.BatchNorm1d(16), nn.GroupNorm(4, 16, affine=False))
    assert fuse_norms(net) == 0
    assert not any(isinstance(part, FusedBatchNorm | FusedGroupNorm) for part in net)


@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
def test_fused_norm_keeps_the_share_of_the_newest_batch(conventions: Conventions) -> None:
    norm = batch_norm_2d(16, conventions)
    set_newest_share(norm, 0.25)
    fused = nn.Sequential(norm)
    fuse_norms(fused)
    fused(torch.full((2, 16, 3, 3), 4.0))
    expected = 1.0 if conventions == "torch" else 4.0  # Haiku's average is corrected for its start at 0
    assert torch.allclose(fused[0].running_mean, torch.tensor(expected))
    assert fused[0].momentum == 0.25
