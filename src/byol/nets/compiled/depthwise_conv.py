"""Depthwise convolutions with compiled gradients for CPUs (`depthwise_conv.cpp`), as in EfficientNets and ConvNeXts.

oneDNN's gradients are slow for kernels larger than 3 x 3, for maps smaller than 3 x 3, and for strides in bf16. The
forward pass is torch's.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from byol.nets.replace_modules import replace_class, replace_modules
from byol.runtime.kernels import library

SOURCE = Path(__file__).with_suffix(".cpp")
SIZES = (3, 5, 7)
"""Kernel sizes that the operator is compiled for, in pixels per side."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` whose gradients are the compiled ones on a CPU, where those are faster."""

    def forward(self, input: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if input.device.type != "cpu" or not self._is_faster(input, kind):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(kind)
        return depthwise_conv(*self._padded(input.to(kind)), self.weight.to(kind), bias, self.stride[0])

    def _is_faster(self, input: Tensor, kind: torch.dtype) -> bool:
        if kind not in (torch.float32, torch.bfloat16):
            return False
        larger = max(self.kernel_size) > min(3, *input.shape[2:])
        return larger or (self.stride[0] > 1 and kind == torch.bfloat16)

    def _padded(self, input: Tensor) -> tuple[Tensor, int]:
        """The input, and the padding per side in pixels that the convolution still has to add."""
        return input, self.padding[0]  # pyright: ignore[reportReturnType]


class DepthwiseConv2dSame(DepthwiseConv2d, Conv2dSame):
    """`DepthwiseConv2d` with TensorFlow's padding, as timm computes it."""

    def _padded(self, input: Tensor) -> tuple[Tensor, int]:
        return pad_same(input, self.kernel_size, self.stride), 0  # pyright: ignore[reportArgumentType]


REPLACEMENTS: dict[type[nn.Module], type[DepthwiseConv2d]] = {
    nn.Conv2d: DepthwiseConv2d,
    Conv2dSame: DepthwiseConv2dSame,
}


def depthwise_conv(input: Tensor, padding: int, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """(N, C, H, W) by (C, 1, K, K) -> (N, C, H', W') in the type of the input (float32 or bfloat16), channels last."""
    return _DepthwiseConv.apply(input, padding, weight, bias, stride)  # pyright: ignore[reportReturnType]


def use_depthwise_gradients(module: nn.Module) -> int:
    """Replaces, in place, the depthwise convolutions below `module` that the operator can compute; returns how many.

    A convolution must be square, without dilation, with a kernel size in SIZES and a multiple of 8 channels.
    """
    return replace_modules(module, _replacement)


def _replacement(module: nn.Module) -> nn.Module | None:
    kind = REPLACEMENTS.get(type(module))
    if kind is None or not isinstance(module, nn.Conv2d) or not _is_candidate(module):
        return None
    return replace_class(module, kind)


def _is_candidate(conv: nn.Conv2d) -> bool:
    square = conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]
    plain = conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    padded = not isinstance(conv.padding, str) and conv.padding[0] == conv.padding[1]
    depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.in_channels % 8 == 0
    return square and plain and padded and depthwise and conv.kernel_size[0] in SIZES


class _DepthwiseConv(torch.autograd.Function):
    """The convolution with torch's forward and the compiled backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, padding: int, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        input = input.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            output = functional.conv2d(input, weight, bias, stride, padding, groups=len(weight))
        return output.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, weight = ctx.saved_tensors
        gradient = gradient.to(input.dtype).contiguous(memory_format=torch.channels_last)
        places = weight.float().permute(2, 3, 1, 0).contiguous()
        to_input = torch.empty_like(input) if ctx.needs_input_grad[0] else None
        to_weight = torch.empty_like(places)
        images, channels, height, width = input.shape
        shape = (ctypes.c_int64 * 7)(images, height, width, channels, weight.shape[2], ctx.stride, ctx.padding)
        _kernel()(
            input.data_ptr(),
            gradient.data_ptr(),
            places.data_ptr(),
            None if to_input is None else to_input.data_ptr(),
            to_weight.data_ptr(),
            shape,
            input.dtype == torch.bfloat16,
        )
        to_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return to_input, None, to_weight.permute(3, 2, 0, 1).to(weight.dtype), to_bias, None


@cache
def _kernel() -> Any:
    function = library(SOURCE).depthwise_gradients
    function.argtypes = [*[ctypes.c_void_p] * 5, ctypes.POINTER(ctypes.c_int64), ctypes.c_int]
    return function
