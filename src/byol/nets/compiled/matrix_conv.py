"""Convolutions as one matrix product for CPUs, where that is faster than oneDNN's convolution (`matrix_conv.cpp`).

The product is faster in bf16, for output maps up to 7 x 7 and for strided 1 x 1 convolutions: oneDNN computes their
gradients at a third to two thirds of its rate. A float32 product gains nothing.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from byol.nets.replace_modules import replace_class, replace_modules
from byol.runtime.kernels import library

SOURCE = Path(__file__).with_suffix(".cpp")
LARGEST_MAP = 49
"""Largest output map, in pixels, for which a convolution is computed as a matrix product."""


class MatrixConv2d(nn.Conv2d):
    """`nn.Conv2d` computed as a matrix product in bf16 on a CPU, where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if input.device.type != "cpu" or kind != torch.bfloat16 or not self._is_faster(input):
            return super().forward(input)
        return matrix_conv(input.to(kind), self.weight.to(kind), self.stride[0], self.padding[0])  # pyright: ignore[reportArgumentType]

    def _is_faster(self, input: Tensor) -> bool:
        height, width = (-(-side // self.stride[0]) for side in input.shape[2:])
        return height * width <= LARGEST_MAP or (self.kernel_size[0] == 1 and self.stride[0] > 1)


def matrix_conv(input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """(N, C, H, W) by (O, C, K, K) -> (N, O, H', W') in the type of the input, channels last."""
    return _MatrixConv.apply(input, weight, stride, padding)  # pyright: ignore[reportReturnType]


def use_matrix_products(module: nn.Module) -> int:
    """Replaces, in place, the convolutions below `module` that may be faster as `MatrixConv2d`; returns how many.

    A convolution must be plain, square and ungrouped, with a multiple of 16 input channels. Whether the product is used
    depends on the map's size, at each call.
    """
    return replace_modules(module, _replacement)


def _replacement(module: nn.Module) -> nn.Module | None:
    return replace_class(module, MatrixConv2d) if type(module) is nn.Conv2d and _is_candidate(module) else None


def _is_candidate(conv: nn.Conv2d) -> bool:
    square = conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.bias is None and conv.padding_mode == "zeros"
    padded = not isinstance(conv.padding, str) and conv.padding[0] == conv.padding[1]
    gains = conv.kernel_size[0] > 1 or conv.stride[0] > 1
    return square and plain and padded and gains and conv.in_channels % 16 == 0


class _MatrixConv(torch.autograd.Function):
    """The convolution as matrix products, forward and backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        input = input.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(input, weight)
        ctx.shape = (*input.shape[:1], *input.shape[2:], input.shape[1], weight.shape[2], stride, padding)
        images, height, width, _, kernel, *_ = ctx.shape
        out_height, out_width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        output = _columns(input, ctx.shape, out_height * out_width) @ _as_matrix(weight).t()
        return output.view(images, out_height, out_width, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, weight = ctx.saved_tensors
        places = gradient.shape[2] * gradient.shape[3]
        rows = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            columns = rows @ _as_matrix(weight)
            to_input = torch.empty_like(input)
            _kernels().columns_scatter(columns.data_ptr(), to_input.data_ptr(), _shape(ctx.shape), _is_half(input))
        if ctx.needs_input_grad[1]:
            outputs, channels, kernel, _ = weight.shape
            to_weight = rows.t() @ _columns(input, ctx.shape, places)
            to_weight = to_weight.view(outputs, kernel, kernel, channels).permute(0, 3, 1, 2)
        return to_input, to_weight, None, None


def _columns(input: Tensor, shape: tuple[int, ...], places: int) -> Tensor:
    """(N * places, K * K * C): the input pixels below the kernel at each output place."""
    columns = input.new_empty(shape[0] * places, shape[4] ** 2 * shape[3])
    _kernels().columns_gather(input.data_ptr(), columns.data_ptr(), _shape(shape), _is_half(input))
    return columns


def _as_matrix(weight: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def _shape(shape: tuple[int, ...]) -> Any:
    return (ctypes.c_int64 * 7)(*shape)


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bfloat16


@cache
def _kernels() -> ctypes.CDLL:
    compiled = library(SOURCE)
    for function in (compiled.columns_gather, compiled.columns_scatter):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64), ctypes.c_int]
    return compiled
