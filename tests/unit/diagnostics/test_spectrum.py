"""Effective rank, RankMe, alpha-ReQ and LiDAR."""

import math

import numpy as np
import pytest
import torch

from byol.diagnostics.spectrum import alpha_req, effective_rank, lidar, rankme
from tests.unit.diagnostics.encodings import SKEWED, drawn, rotation


def test_effective_rank_and_rankme_hand_values() -> None:
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0, rel=1e-5)
    assert effective_rank(torch.ones(7, 3)) == pytest.approx(1.0, rel=1e-4)
    assert effective_rank(torch.zeros(4, 4)) == rankme(torch.zeros(4, 4)) == 0.0
    expected = math.exp(-2 * (0.5 + 1e-2) * math.log(0.5 + 1e-2))
    assert rankme(torch.eye(2).double(), epsilon=1e-2) == pytest.approx(expected, rel=1e-12)


def test_ranks_equal_numpys_and_ignore_scale_and_rotation() -> None:
    singular = np.sqrt(np.linalg.eigvalsh(SKEWED.numpy().T @ SKEWED.numpy()))
    share = singular / singular.sum()
    assert effective_rank(SKEWED) == pytest.approx(math.exp(-np.sum(share * np.log(share))), rel=1e-8)
    assert rankme(SKEWED) == pytest.approx(math.exp(-np.sum((share + 1e-7) * np.log(share + 1e-7))), rel=1e-8)
    assert rankme(3e4 * SKEWED @ rotation(24)) == pytest.approx(rankme(SKEWED), rel=1e-9)


def power_law(alpha: float, dimension: int = 120, count: int = 300) -> torch.Tensor:
    """Centred vectors whose covariance has exactly the eigenvalues j^-alpha."""
    directions = torch.linalg.qr(drawn(count, dimension) - drawn(count, dimension).mean(dim=0)).Q
    return directions * torch.arange(1, dimension + 1, dtype=torch.float64) ** (-alpha / 2)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_alpha_req_finds_the_exponent_of_a_power_law(alpha: float) -> None:
    assert alpha_req(power_law(alpha)) == pytest.approx(alpha, abs=1e-6)
    assert alpha_req(5 * power_law(alpha) @ rotation(120) + 7) == pytest.approx(alpha, abs=1e-6)


def test_alpha_req_equals_numpys_weighted_fit() -> None:
    features = drawn(200, 60, seed=3) * torch.rand(60, generator=torch.Generator().manual_seed(0)).double()
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(features.numpy().T)))[::-1][10:60]
    index = np.arange(11, 61)
    slope, _ = np.polyfit(np.log(index), np.log(eigenvalues), 1, w=np.sqrt(1 / index))
    assert alpha_req(features) == pytest.approx(-slope, rel=1e-9)


def test_alpha_req_with_too_few_directions_is_nan() -> None:
    assert math.isnan(alpha_req(drawn(50, 12)))
    assert math.isnan(alpha_req(torch.ones(50, 30)))


def test_lidar_hand_value() -> None:
    """Four image means at the corners of a square, views that differ equally in both directions: rank 2."""
    means = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    jitter = torch.tensor([[0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]])
    assert lidar(means[:, None] + jitter) == pytest.approx(2.0, rel=1e-6)
    assert lidar(means[:, None] * torch.tensor([1.0, 0.0]) + jitter) == pytest.approx(1.0, rel=1e-6)


def test_lidar_equals_slow_covariances_and_ignores_a_shift() -> None:
    views = (drawn(40, 1, 6) * torch.arange(1, 7) + 0.5 * drawn(40, 5, 6, seed=2) + 3).numpy()
    between = np.cov(views.mean(axis=1).T)
    within = np.mean([np.cov(v.T) for v in views], axis=0) + 1e-4 * np.eye(6)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    share = np.linalg.eigvalsh(root @ between @ root)
    share = share / share.sum()
    assert lidar(torch.from_numpy(views)) == pytest.approx(math.exp(-np.sum(share * np.log(share))), rel=1e-8)
    assert lidar(torch.from_numpy(views) - 50) == pytest.approx(lidar(torch.from_numpy(views)), rel=1e-8)


def test_lidar_of_equal_images_is_zero() -> None:
    assert lidar(torch.ones(10, 4, 3)) == 0.0
