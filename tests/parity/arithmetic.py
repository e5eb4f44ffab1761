"""Kinds of arithmetic below float64: float32's own products, TF32's, and bf16's by autocast."""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from byol.runtime.hardware import computes_in_bf16

ARITHMETICS = ["float32", pytest.param("tf32", marks=pytest.mark.gpu), "bf16"]


@contextlib.contextmanager
def arithmetic(kind: str, device: torch.device) -> Iterator[None]:
    """Context in which float32 tensors are multiplied in this kind of arithmetic. Skips the test where bf16 is emulated."""
    if kind == "bf16" and not computes_in_bf16(device):
        pytest.skip(f"{device} computes no bf16")
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
