"""How far a tensor is from the expected one."""

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
"""Largest relative error of a compiled operator, per type of its input."""


def relative_error(result: Tensor | None, expected: Tensor | None) -> float:
    """L2 distance divided by the L2 norm of `expected`, in float64."""
    assert result is not None and expected is not None
    return float((result.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm())
