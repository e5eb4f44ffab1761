"""The loss: hand values, any type and scale."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.methods.losses import byol_loss, regression_loss


def test_regression_loss_hand_values() -> None:
    x = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1e-9, 0.0]])
    y = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 0.0]])
    assert regression_loss(x, y).tolist() == pytest.approx([0.0, 2.0, 4.0, (1 - 1e-3) ** 2], abs=1e-6)


def test_byol_loss_is_the_sum_of_both_directions() -> None:
    p1, p2, t1, t2 = torch.randn(4, 6, 5).unbind(0)
    expected = (4 - 2 * torch.cosine_similarity(p1, t2) - 2 * torch.cosine_similarity(p2, t1)).mean()
    assert float(byol_loss(p1, p2, t1, t2)) == pytest.approx(float(expected), abs=1e-5)
    assert float(byol_loss(p1, p2, -p2, -p1)) == pytest.approx(8.0, abs=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 9), dimension=st.integers(1, 33), seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]), exponent=st.integers(-5, 4),
)  # fmt: skip
def test_losses_any_dtype_shape_and_scale(
    count: int, dimension: int, seed: int, dtype: torch.dtype, exponent: int
) -> None:
    """In range, computed in float32 at least, and blind to the length of the vectors (lengths above the clamp)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64).unbind(0)
    x, y = (v + v.sign() * 0.1 for v in (x, y))
    found = regression_loss((x * 10.0**exponent).to(dtype), y.to(dtype))
    assert found.shape == (count,)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 4 + 1e-5
    expected = 2 - 2 * torch.cosine_similarity((x * 10.0**exponent).to(dtype).double(), y.to(dtype).double())
    assert torch.allclose(found.double(), expected, atol=2e-6 if dtype != torch.float64 else 1e-12)


def test_l2_normalize_zero_vector_is_zero_with_a_finite_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    regression_loss(x, torch.ones(2, 4)).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
