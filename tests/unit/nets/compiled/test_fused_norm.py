"""Fused batch norm and group norm: equal to torch's, in float32 closely and in bf16 to its rounding."""

import copy
import ctypes

import pytest
import torch
from torch import Tensor, nn

from byol.nets.compiled.fused_norm import SOURCE, FusedBatchNorm, FusedGroupNorm, add_and_relu, fuse_norms, norm_relu
from byol.nets.norm import Conventions, DeepMindBatchNorm, batch_norm_2d, set_newest_share
from byol.runtime import kernels
from tests.closeness import TOLERANCE, relative_error


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
    assert relative_error(found, expected) < loose * TOLERANCE[kind]
    assert relative_error(x.grad, expected_x.grad) < loose * TOLERANCE[kind]
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        assert relative_error(ours.grad, theirs.grad) < loose * TOLERANCE[kind]
    if residual is not None and expected_residual is not None:
        assert relative_error(residual.grad, expected_residual.grad) < TOLERANCE[kind]
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
        assert relative_error(getattr(fused, name), getattr(plain, name)) < 1e-5
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
    backward_sums = kernels.library(SOURCE).norm_backward_sums
    rows, channels = ctypes.c_int64(64 * 400), ctypes.c_int64(16)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        found = set()
        for _ in range(50):
            sums = torch.empty(2, 16, dtype=torch.float64)
            addresses = [tensor.data_ptr() for tensor in (x, x, x, *norm)]
            backward_sums(
                *map(ctypes.c_void_p, addresses), rows, channels, None, ctypes.c_void_p(sums.data_ptr()), 0, 0
            )
            found.add(tuple(sums.flatten().tolist()))
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
    assert relative_error(sums[0], x.double().sum(dim=(0, 2, 3))) < 1e-5


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
    assert relative_error(seen[0], plain(x)) < 1e-5
    assert relative_error(norm_relu(fused[0], x, residual), with_hook) < 1e-5


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
