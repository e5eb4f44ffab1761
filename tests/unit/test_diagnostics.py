"""Each measure against a hand value, an invariant, and a slow implementation in numpy."""

import math

import numpy as np
import pytest
import torch

from byol.diagnostics.encoding_variance import encoding_variance
from byol.diagnostics.measures import measure_encodings, measure_networks, measure_predictor
from byol.diagnostics.predictor import predictor_optimality
from byol.diagnostics.similarity import alignment, cosines, std_ratio, uniformity
from byol.diagnostics.spectrum import alpha_req, effective_rank, lidar, rankme


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def rotation(dimension: int) -> torch.Tensor:
    return torch.linalg.qr(drawn(dimension, dimension, seed=9)).Q


def units(vectors: torch.Tensor) -> np.ndarray:
    return np.stack([v / math.sqrt(sum(x * x for x in v)) for v in vectors.numpy()])


SKEWED = drawn(60, 24) * torch.arange(1, 25) ** -1.0 + 0.3
OTHER = SKEWED + 0.2 * drawn(60, 24, seed=1)


# ---- similarity


def test_std_ratio_hand_value() -> None:
    assert std_ratio(torch.tensor([[2.0, 0.0], [0.0, 3.0]])) == pytest.approx(0.5 * 2**0.5)
    assert std_ratio(torch.ones(8, 3)) == pytest.approx(0, abs=1e-6)


def test_std_ratio_equals_numpys_and_ignores_lengths() -> None:
    expected = np.std(units(SKEWED), axis=0).mean() * 24**0.5
    assert std_ratio(SKEWED) == pytest.approx(expected, rel=1e-12)
    assert std_ratio(SKEWED * drawn(60, 1).abs()) == pytest.approx(expected, rel=1e-12)


def test_cosines_hand_value() -> None:
    online, target = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [-3.0, 3.0]])
    half = 0.5**0.5
    assert cosines(online, target) == pytest.approx((half, 0.0), abs=1e-7)


def test_cosines_equal_a_slow_loop_and_survive_rotation() -> None:
    a, b = units(SKEWED), units(OTHER)
    positive = np.mean([a[i] @ b[i] for i in range(60)])
    negative = np.mean([a[i] @ b[j] for i in range(60) for j in range(60) if i != j])
    assert cosines(SKEWED, OTHER) == pytest.approx((positive, negative), rel=1e-12)
    assert cosines(SKEWED @ rotation(24), OTHER @ rotation(24)) == pytest.approx((positive, negative), rel=1e-10)


def test_alignment_hand_value_slow_loop_and_bounds() -> None:
    assert alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]])) == pytest.approx(2.0)
    assert alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])) == pytest.approx(4.0)
    a, b = units(SKEWED), units(OTHER)
    assert alignment(SKEWED, OTHER, power=1) == pytest.approx(np.mean([np.linalg.norm(a[i] - b[i]) for i in range(60)]))
    assert alignment(SKEWED, OTHER) == pytest.approx(2 - 2 * cosines(SKEWED, OTHER)[0], rel=1e-10)


def test_uniformity_hand_value() -> None:
    assert uniformity(torch.tensor([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(-4.0)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-6)
    assert uniformity(drawn(1000, 500)) == pytest.approx(-4.0, abs=0.05)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_uniformity_equals_a_slow_loop_for_every_chunk(chunk: int) -> None:
    a = units(SKEWED)
    terms = [math.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i in range(60) for j in range(i)]
    assert uniformity(SKEWED, chunk=chunk) == pytest.approx(math.log(np.mean(terms)), rel=1e-10)


# ---- spectrum


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


# ---- variance over views


def test_encoding_variance_hand_values() -> None:
    assert encoding_variance(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])) == pytest.approx(0.5)
    assert encoding_variance(drawn(5, 1, 3).expand(5, 8, 3)) == pytest.approx(0.0, abs=1e-12)


def test_encoding_variance_equals_a_slow_loop_and_one_minus_the_mean_length() -> None:
    views = drawn(12, 8, 5) + 1
    slow = []
    for image in views:
        u = units(image)
        slow.append(np.mean([np.sum((row - u.mean(axis=0)) ** 2) for row in u]))
    assert encoding_variance(views) == pytest.approx(np.mean(slow), rel=1e-12)
    lengths = [np.sum(units(image).mean(axis=0) ** 2) for image in views]
    assert encoding_variance(views) == pytest.approx(1 - np.mean(lengths), rel=1e-12)


# ---- predictor


def test_predictor_optimality_of_a_linear_world_is_zero_for_the_true_map() -> None:
    projection = drawn(80, 6)
    target = projection @ drawn(6, 6, seed=4)
    found = predictor_optimality(projection, 3 * target, target)
    assert found.actual == pytest.approx(0.0, abs=1e-12)
    assert predictor_optimality(projection, -target, target).actual == pytest.approx(4.0)
    assert found.constant > 1.5


def test_predictor_optimality_equals_a_slow_least_squares() -> None:
    projection, target = drawn(40, 3), drawn(40, 3, seed=5) + drawn(40, 3) + 1
    wanted = units(target)
    residuals, constants = np.zeros(40), np.zeros(40)
    for parity in (0, 1):
        kept, out = [i for i in range(40) if i % 2 == parity], [i for i in range(40) if i % 2 != parity]
        inputs = np.hstack([projection.numpy(), np.ones((40, 1))])
        best = np.linalg.solve(inputs[kept].T @ inputs[kept], inputs[kept].T @ wanted[kept])
        mean = wanted[kept].mean(axis=0)
        for i in out:
            guess = inputs[i] @ best
            residuals[i] = 2 - 2 * guess @ wanted[i] / np.linalg.norm(guess)
            constants[i] = 2 - 2 * mean @ wanted[i] / np.linalg.norm(mean)
    found = predictor_optimality(projection, projection, target)
    assert (found.least_squares, found.constant) == pytest.approx((residuals.mean(), constants.mean()), rel=1e-10)
    assert found.ratio == pytest.approx(found.actual / residuals.mean())


# ---- together


def test_measures_of_encodings_are_those_of_the_functions() -> None:
    views = drawn(60, 4, 20) + drawn(60, 1, 20, seed=7)
    seen = measure_encodings(views)
    assert seen["positive_cosine"] > 0.3 > abs(seen["negative_cosine"])
    assert seen["lidar"] == lidar(views)
    assert seen["rankme"] == rankme(views[:, 0])
    assert seen["dimensions"] == 20
    assert math.isnan(measure_encodings(views[:15])["lidar"])


def test_measures_of_networks_tell_a_steadier_target() -> None:
    images = drawn(60, 1, 20)
    source, target = images + 0.5 * drawn(60, 8, 20, seed=1), images + 0.1 * drawn(60, 8, 20, seed=2)
    seen = measure_networks(source, target)
    assert 0 < seen["variance_ratio"] < 0.2
    assert seen["variance_ratio"] == pytest.approx(seen["target_variance"] / seen["source_variance"])
    assert measure_networks(source, source)["variance_ratio"] == 1.0


def test_measures_of_a_predictor_need_enough_images() -> None:
    views = drawn(60, 2, 20)
    assert all(math.isfinite(v) for v in measure_predictor(views, views, views).values())
    assert all(math.isnan(v) for v in measure_predictor(views[:40], views[:40], views[:40]).values())


def test_measures_of_half_precision_and_of_float64_agree() -> None:
    half = drawn(40, 2, 8).half()
    assert measure_encodings(half) == measure_encodings(half.double())
    assert std_ratio(half[:, 0]) == pytest.approx(std_ratio(half[:, 0].double()), rel=1e-5)
