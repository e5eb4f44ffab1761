"""Batch norm or group norm, the addition of a residual and ReLU as one operator for CPUs (`fused_norm.cpp`).

Batch norm, forward and backward, takes eight passes over the map where torch takes thirteen; with a residual, eleven
for torch's sixteen.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from byol.nets.norm import DeepMindBatchNorm, SynchronizedBatchNorm, over_ranks
from byol.nets.replace_modules import replace_class, replace_modules
from byol.runtime.kernels import library

SOURCE = Path(__file__).with_suffix(".cpp")
LANES = 16
"""Channels per vector of the operator: maps must have a multiple of it."""


class FusedBatchNorm(SynchronizedBatchNorm):
    """`nn.BatchNorm2d` that also adds a residual and applies ReLU; same parameters, same names.

    Statistics are over this process's batch, or over all ranks' if `synchronized`. In training, maps (N, C, H, W) in
    float32 or bf16 with a multiple of 16 channels use the compiled operator; everything else uses torch's.
    """

    synchronized: bool = False

    def forward(self, input: Tensor, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
        if not (self.training and fits(self.weight, input, residual)):
            return add_and_relu(self._plain(input), residual, relu=relu)
        output, mean, var, count = _FusedNorm.apply(
            input, residual, self.weight, self.bias, self.eps, relu, self.synchronized
        )
        self._update_averages(mean, var, count)
        return output

    def _plain(self, input: Tensor) -> Tensor:
        if self.synchronized:
            return SynchronizedBatchNorm.forward(self, input)
        return nn.BatchNorm2d.forward(self, input)  # pyright: ignore[reportArgumentType]


class FusedDeepMindBatchNorm(FusedBatchNorm, DeepMindBatchNorm):
    """`DeepMindBatchNorm` (Haiku's running averages) that also adds a residual and applies ReLU."""

    def _plain(self, input: Tensor) -> Tensor:
        return DeepMindBatchNorm.forward(self, input)


class FusedGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` that also adds a residual and applies ReLU; same parameters, same names.

    In training, maps (N, C, H, W) in float32 or bf16 with a multiple of 16 channels use the compiled operator;
    everything else uses torch's.
    """

    def forward(self, input: Tensor, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
        if not (self.training and fits(self.weight, input, residual)):
            return add_and_relu(super().forward(input), residual, relu=relu)
        return _FusedGroupNorm.apply(input, residual, self.weight, self.bias, self.num_groups, self.eps, relu)  # pyright: ignore[reportReturnType]


def norm_relu(norm: nn.Module, input: Tensor, residual: Tensor | None = None) -> Tensor:
    """ReLU of `norm(input)`, or of its sum with `residual`; as one operator if `norm` is a fused one.

    A forward hook on `norm` receives the output of the norm alone.
    """
    if isinstance(norm, FusedBatchNorm | FusedGroupNorm) and not norm._forward_hooks:
        return norm(input, residual, relu=True)
    return add_and_relu(norm(input), residual, relu=True)


def add_and_relu(output: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
    """The two operations after a norm, in torch."""
    output = output if residual is None else output + residual
    return nn.functional.relu(output, inplace=True) if relu else output


def fuse_norms(module: nn.Module) -> int:
    """Replaces, in place, every norm below `module` by its fused form; returns how many.

    Batch norm (plain 2d, DeepMind's, over all ranks) and group norm have one.
    """
    return replace_modules(module, _fused)


def _fused(norm: nn.Module) -> nn.Module | None:
    if type(norm) is nn.BatchNorm2d and norm.affine and norm.track_running_stats and norm.momentum is not None:
        return replace_class(norm, FusedBatchNorm)
    if type(norm) is SynchronizedBatchNorm:
        fused = replace_class(norm, FusedBatchNorm)
        fused.synchronized = True
        return fused
    if type(norm) is DeepMindBatchNorm:
        return replace_class(norm, FusedDeepMindBatchNorm)
    return replace_class(norm, FusedGroupNorm) if type(norm) is nn.GroupNorm and norm.affine else None


def fits(weight: Tensor, input: Tensor, residual: Tensor | None) -> bool:
    """Whether the operator computes these: maps on a CPU in float32 or bf16, a multiple of 16 channels, float32 weights.

    Input and residual must have one type. A single value per channel does not fit: torch's operator refuses it, unless
    other ranks have more.
    """
    return (
        input.dim() == 4
        and input.device == weight.device == torch.device("cpu")
        and weight.dtype == torch.float32
        and input.dtype in (torch.float32, torch.bfloat16)
        and input.shape[1] == len(weight)
        and len(weight) % LANES == 0
        and input.numel() > input.shape[1]
        and (residual is None or (residual.dtype == input.dtype and residual.shape == input.shape))
    )


class _FusedNorm(torch.autograd.Function):
    """(output, mean, biased variance, values per channel); only the output carries a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        relu: bool,
        synchronized: bool,
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        input = _channels_innermost(input)
        residual = None if residual is None else _channels_innermost(residual)
        rows, channels, half = _shape(input)
        mean, var = weight.new_empty(channels), weight.new_empty(channels)
        _kernels().norm_statistics(_at(input), rows, channels, _at(mean), _at(var), half)
        mean, var, num_ranks = over_ranks(mean, var) if synchronized else (mean, var, 1)
        inverse_std = torch.rsqrt(var + eps)
        scale = weight * inverse_std
        shift = bias - mean * scale
        output = torch.empty_like(input)
        _kernels().norm_apply(
            _at(input), _at(residual), _at(output), _at(scale), _at(shift), rows, channels, relu, half
        )
        ctx.relu, ctx.has_residual, ctx.num_ranks = relu, residual is not None, num_ranks
        relu_output = output if relu and residual is not None else None  # else ReLU is known from the input
        ctx.save_for_backward(input, relu_output, scale, shift, mean, inverse_std)
        ctx.mark_non_differentiable(mean, var)
        return output, mean, var, rows * num_ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, output, scale, shift, mean, inverse_std = ctx.saved_tensors
        gradient = _channels_innermost(gradient)
        rows, channels, half = _shape(input)
        to_residual = torch.empty_like(input) if ctx.has_residual else None
        sums = torch.empty(2, channels, dtype=torch.float64)
        of_norm = (_at(scale), _at(shift), _at(mean), _at(inverse_std))
        _kernels().norm_backward_sums(
            _at(gradient), _at(input), _at(output), *of_norm, rows, channels, _at(to_residual), _at(sums), ctx.relu, half
        )  # fmt: skip
        to_bias, to_weight = sums.float().unbind()  # gradients of this rank's loss: DDP averages them over the ranks
        if ctx.num_ranks > 1:
            distributed.all_reduce(sums)
        to_input = torch.empty_like(input)
        _kernels().norm_backward_input(
            _at(gradient), _at(input), _at(to_residual), *of_norm, _at(sums), rows * ctx.num_ranks, rows, channels,
            _at(to_input), ctx.relu, half
        )  # fmt: skip
        return to_input, to_residual, to_weight, to_bias, None, None, None


class _FusedGroupNorm(torch.autograd.Function):
    """Group norm, residual and ReLU, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        groups: int,
        eps: float,
        relu: bool,
    ) -> Tensor:
        input = _channels_innermost(input)
        residual = None if residual is None else _channels_innermost(residual)
        mean, inverse_std = weight.new_empty(2, len(input), groups).unbind()
        output = torch.empty_like(input)
        ctx.shape = (len(input), input[0, 0].numel(), input.shape[1], groups, relu, input.dtype == torch.bfloat16)
        _kernels().group_norm_forward(
            _at(input), _at(residual), _at(output), _at(weight), _at(bias), _at(mean), _at(inverse_std), eps, *ctx.shape
        )  # fmt: skip
        ctx.has_residual = residual is not None
        relu_output = output if relu and ctx.has_residual else None  # else ReLU is known from the input
        ctx.save_for_backward(input, relu_output, weight, bias, mean, inverse_std)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, output, weight, bias, mean, inverse_std = ctx.saved_tensors
        gradient = _channels_innermost(gradient)
        to_residual = torch.empty_like(input) if ctx.has_residual else None
        to_input = torch.empty_like(input)
        to_weight, to_bias = weight.new_empty(2, *input.shape[:2]).unbind()
        _kernels().group_norm_backward(
            _at(gradient), _at(input), _at(output), _at(weight), _at(bias), _at(mean), _at(inverse_std),
            _at(to_residual), _at(to_input), _at(to_weight), _at(to_bias), *ctx.shape
        )  # fmt: skip
        return to_input, to_residual, to_weight.sum(dim=0), to_bias.sum(dim=0), None, None, None


@cache
def _kernels() -> ctypes.CDLL:
    compiled = library(SOURCE)
    at, number, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    compiled.norm_statistics.argtypes = [at, number, number, at, at, flag]
    compiled.norm_apply.argtypes = [*[at] * 5, number, number, flag, flag]
    compiled.norm_backward_sums.argtypes = [*[at] * 7, number, number, at, at, flag, flag]
    compiled.norm_backward_input.argtypes = [*[at] * 8, number, number, number, at, flag, flag]
    compiled.group_norm_forward.argtypes = [*[at] * 7, ctypes.c_float, *[number] * 4, flag, flag]
    compiled.group_norm_backward.argtypes = [*[at] * 11, *[number] * 4, flag, flag]
    return compiled


def _channels_innermost(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _shape(maps: Tensor) -> tuple[int, int, bool]:
    return maps.numel() // maps.shape[1], maps.shape[1], maps.dtype == torch.bfloat16


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
