"""The collapse watch: hand values and verdicts."""

import pytest
import torch

from byol.diagnostics.collapse import CollapseWatch, effective_rank, verdict, watch


def test_watch_collapsed_vectors_say_collapsed() -> None:
    vectors = torch.ones(32, 16) + 1e-4 * torch.randn(32, 16)
    assert verdict(watch(vectors, vectors)).startswith("collapsed")


def test_watch_isotropic_vectors_say_healthy() -> None:
    vectors = torch.randn(512, 32, generator=torch.Generator().manual_seed(0))
    seen = watch(vectors, vectors)
    assert seen.std_ratio == pytest.approx(1.0, abs=0.02)
    assert seen.positive_cosine == pytest.approx(1.0, abs=1e-5)
    assert abs(seen.negative_cosine) < 0.01
    assert verdict(seen).startswith("healthy")


def test_watch_hand_values() -> None:
    online = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    target = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    seen = watch(online, target)
    half = 0.5**0.5
    assert (seen.positive_cosine, seen.negative_cosine) == pytest.approx((half, 0.0), abs=1e-6)
    assert seen.std_ratio == pytest.approx(0.5 * 2**0.5)


def test_effective_rank_hand_values() -> None:
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0, rel=1e-5)
    assert effective_rank(torch.ones(7, 3)) == pytest.approx(1.0, rel=1e-4)
    assert effective_rank(torch.zeros(4, 4)) == 0.0


def test_verdict_weak_when_images_are_hardly_told_apart() -> None:
    assert verdict(CollapseWatch(0.4, 8.0, 0.62, 0.60)).startswith("weak")
