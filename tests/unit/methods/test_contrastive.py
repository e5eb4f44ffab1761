"""Losses with negatives, against slow loops and over ranks."""

import math

import pytest
import torch
from torch import Tensor

from byol.methods.contrastive import info_nce, nt_xent
from byol.methods.losses import byol_loss, normalize_vectors, normalized_loss, simsiam_loss
from byol.runtime.ranks import Ranks
from tests.ranks import run_ranks


def vectors(seed: int, count: int = 6, dimension: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(4, count, dimension, generator=generator, dtype=torch.float64).unbind(0))


def slow_nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> float:
    """SimCLR equation 1 as it stands: a loop over all 2N views."""
    views = [v / v.norm() for pair in zip(z1, z2, strict=True) for v in pair]
    total = 0.0
    for i, anchor in enumerate(views):
        scores = [math.exp(float(anchor @ other) / temperature) for other in views]
        total -= math.log(scores[i ^ 1] / (sum(scores) - scores[i]))
    return total / len(views)


def slow_info_nce(p: Tensor, own: Tensor, other: Tensor, alpha: float, beta: float) -> float:
    """BYOL equation 8 as it stands, one direction."""
    similarity = lambda a, b: float(a @ b / (a.norm() * b.norm()))  # noqa: E731
    count, value = len(p), 0.0
    for i in range(count):
        inside = sum(math.exp(similarity(p[i], own[j]) / alpha) for j in range(count) if j != i)
        inside += sum(math.exp(similarity(p[i], other[j]) / alpha) for j in range(count))
        value += 2 / count * similarity(p[i], other[i]) - beta * 2 * alpha / count * math.log(inside)
    return value


def test_nt_xent_hand_values() -> None:
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(nt_xent(same, same, temperature=0.1)) == pytest.approx(math.log(3), abs=1e-6)  # nothing to tell apart
    apart = torch.tensor([[2.0, 0.0], [-3.0, 0.0]])  # positives at 1, both negatives at -1
    assert float(nt_xent(apart, apart, temperature=1.0)) == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_equals_the_loop_over_all_views(temperature: float) -> None:
    z1, z2, *_ = vectors(0)
    assert float(nt_xent(z1, z2, temperature=temperature)) == pytest.approx(
        slow_nt_xent(z1, z2, temperature), abs=1e-12
    )


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (0.3, 0.5), (1.0, 0.1), (2.0, 0.0)])
def test_info_nce_equals_equation_8_in_both_directions(alpha: float, beta: float) -> None:
    p1, p2, t1, t2 = vectors(1)
    expected = slow_info_nce(p1, t1, t2, alpha, beta) + slow_info_nce(p2, t2, t1, alpha, beta)
    assert float(info_nce(p1, p2, t1, t2, alpha=alpha, beta=beta)) == pytest.approx(-expected, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_info_nce_corners_are_byol_and_simclr(alpha: float) -> None:
    p1, p2, t1, t2 = vectors(2)
    assert float(info_nce(p1, p2, t1, t2, alpha=alpha, beta=0)) == pytest.approx(
        float(byol_loss(p1, p2, t1, t2)) - 4, abs=1e-6
    )
    expected = 4 * alpha * slow_nt_xent(p1, p2, alpha)
    assert float(info_nce(p1, p2, p1, p2, alpha=alpha, beta=1)) == pytest.approx(expected, abs=1e-6)


def test_nt_xent_prefers_agreeing_views_and_ignores_order_and_length() -> None:
    z1, z2, *_ = vectors(3)
    assert float(nt_xent(z1, z1, temperature=0.5)) < float(nt_xent(z1, z2, temperature=0.5))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved = nt_xent(7 * z2[order], z1[order], temperature=0.5)
    assert float(moved) == pytest.approx(float(nt_xent(z1, z2, temperature=0.5)), abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 4, 5, 6, 100])
def test_nt_xent_in_chunks_has_the_same_value_and_gradient(chunk: int) -> None:
    plain, parts = ([v.clone().requires_grad_() for v in vectors(4)[:2]] for _ in range(2))
    whole, pieced = nt_xent(*plain, temperature=0.2), nt_xent(*parts, temperature=0.2, chunk=chunk)
    whole.backward()
    pieced.backward()
    assert pieced.item() == pytest.approx(whole.item(), abs=1e-12)
    for a, b in zip(plain, parts, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-12)


def test_nt_xent_in_chunks_keeps_no_square_matrix() -> None:
    """What autograd holds between the passes grows with N x D, not with N x N."""

    def largest(chunk: int) -> int:
        sizes = [0]
        rows = [torch.randn(256, 4, requires_grad=True) for _ in range(2)]
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            nt_xent(*rows, temperature=0.5, chunk=chunk)
        return max(sizes)

    assert largest(0) >= 256 * 256
    assert largest(16) <= 256 * 4


def test_nt_xent_over_ranks_equals_one_process() -> None:
    run_ranks(2, half_of_the_rows)


def half_of_the_rows(rank: int) -> None:
    whole = [v.clone().requires_grad_() for v in vectors(5)]
    info_nce(*whole, alpha=0.3, beta=0.7).backward()
    rows = slice(3 * rank, 3 * rank + 3)
    for chunk in (0, 2):
        part = [v.detach()[rows].clone().requires_grad_() for v in whole]
        loss = info_nce(*part, alpha=0.3, beta=0.7, gather=Ranks(rank, 2).gather_rows, chunk=chunk)
        loss.backward()
        for ours, full in zip(part, whole, strict=True):
            assert ours.grad is not None
            assert full.grad is not None
            assert torch.allclose(ours.grad / 2, full.grad[rows], atol=1e-12)  # DDP takes the mean over the ranks


def test_info_nce_under_autocast_stays_float32() -> None:
    rows = [v.bfloat16() for v in vectors(6)]
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(*rows, alpha=0.1, beta=1.0)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(info_nce(*[v.double() for v in rows], alpha=0.1, beta=1.0)), abs=1e-4)


def test_simsiam_loss_is_byols_on_another_scale() -> None:
    rows = vectors(7)
    assert float(byol_loss(*rows)) == pytest.approx(4 + 4 * float(simsiam_loss(*rows)), abs=1e-12)


def test_normalized_loss_l2_is_byols_and_the_others_are_their_definitions() -> None:
    rows = vectors(8)
    assert float(normalized_loss(*rows, "l2")) == pytest.approx(float(byol_loss(*rows)), abs=1e-12)
    p1, p2, t1, t2 = rows
    plain = ((p1 - t2) ** 2).sum(1) + ((p2 - t1) ** 2).sum(1)
    assert float(normalized_loss(*rows, "none")) == pytest.approx(float(plain.mean()), abs=1e-12)
    layer, batch = normalize_vectors(p1, "layer"), normalize_vectors(p1, "batch")
    expected = (p1 - p1.mean(1, keepdim=True)) / (p1.var(1, correction=0, keepdim=True) + 1e-5).sqrt() / 5**0.5
    assert torch.allclose(layer, expected, atol=1e-12)
    expected = (p1 - p1.mean(0)) / (p1.var(0, correction=0) + 1e-5).sqrt() / 5**0.5
    assert torch.allclose(batch, expected, atol=1e-12)
