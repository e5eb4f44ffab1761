"""LARS's update in two passes over the memory, for CPUs (`lars.cpp`)."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol.runtime.kernels import library

SOURCE = Path(__file__).with_name("lars.cpp")


def fits(parameters: list[Tensor]) -> bool:
    """Whether the operator computes these: dense float32 tensors on a CPU."""
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and _is_dense(p) for p in parameters)


def lars_step(
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
    adapt: bool,
) -> None:
    """Updates `buffers` and `parameters` in place, as `optim.lars.LARS` describes; each pair has one memory layout."""
    gradients = [
        g if g.stride() == p.stride() else _laid_out_as(p, g) for p, g in zip(parameters, gradients, strict=True)
    ]
    _kernels().lars_step(
        len(parameters),
        _pointers(parameters),
        _pointers(gradients),
        _pointers(buffers),
        (ctypes.c_int64 * len(parameters))(*[p.numel() for p in parameters]),
        lr,
        momentum,
        weight_decay,
        trust_coefficient,
        adapt,
    )


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(parameter).copy_(gradient)


def _pointers(tensors: list[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


@cache
def _kernels() -> ctypes.CDLL:
    compiled = library(SOURCE)
    number, values, at = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
    compiled.lars_step.argtypes = [number, at, at, at, at, *[values] * 4, ctypes.c_int]
    return compiled
