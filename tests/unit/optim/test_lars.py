"""LARS against the formula."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from byol.optim.lars import LARS


def test_lars_one_step_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    weight.grad = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    optimizer = LARS([weight], lr=0.5, weight_decay=0.5, trust_coefficient=0.1)
    optimizer.step()
    decayed = torch.tensor([[1.5, 4.0]], dtype=torch.float64)
    step = decayed * 0.1 * 5 / math.sqrt(1.5**2 + 4**2)
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 4.0]], dtype=torch.float64) - 0.5 * step, atol=1e-14)


def test_lars_scaled_loss_moves_adapted_weights_alike() -> None:
    def moved(scale: float) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(2, 3))
        weight.grad = scale * torch.arange(6.0).view(2, 3)
        LARS([weight], lr=1.0).step()
        return weight.detach()

    assert torch.allclose(moved(1.0), moved(7.0))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float64, torch.float32]), zero=st.sampled_from(["none", "weight", "gradient"]),
)  # fmt: skip
def test_lars_any_shapes_equal_the_formula(shapes: list[list[int]], dtype: torch.dtype, zero: str) -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
    gradients = [torch.randn_like(w) for w in weights]
    if zero == "weight":
        weights[0].data.zero_()
    if zero == "gradient":
        gradients[0].zero_()
    expected = [w.detach().clone() for w in weights]
    momenta = [torch.zeros_like(w) for w in weights]
    optimizer = LARS(weights, lr=0.3, momentum=0.8, weight_decay=0.0, trust_coefficient=0.05)
    for _ in range(2):
        for w, g in zip(weights, gradients, strict=True):
            w.grad = g.clone()
        optimizer.step()
        for e, g, m in zip(expected, gradients, momenta, strict=True):
            norms = float(e.norm()), float(g.norm())
            ratio = 0.05 * norms[0] / norms[1] if min(norms) > 0 else 1.0
            m.mul_(0.8).add_(g * ratio)
            e.sub_(0.3 * m)
    for w, e in zip(weights, expected, strict=True):
        assert torch.allclose(w.detach(), e, atol=1e-5 if dtype == torch.float32 else 1e-12)
