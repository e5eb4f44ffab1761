"""The predictor against its optimum."""

import math

import numpy as np
import pytest
import torch

from byol.diagnostics.predictor import measure_linear_predictor, predictor_optimality
from tests.unit.diagnostics.encodings import SKEWED, drawn, rotation, units


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


def test_linear_predictor_hand_values() -> None:
    """Correlation diag(4, 1), N = 2: the first direction has four fifths of the variance."""
    projection = torch.tensor([[2.0, 0.0], [0.0, 1.0]]) * math.sqrt(2)
    turned = measure_linear_predictor(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), projection)
    assert turned["predictor_alignment"] == pytest.approx(0.0, abs=1e-12)
    assert turned["predictor_asymmetry"] == pytest.approx(2.0)
    assert turned["predictor_stable_rank"] == pytest.approx(2.0)
    assert math.isnan(turned["predictor_exponent"])
    half = measure_linear_predictor(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), projection)
    assert half["predictor_alignment"] == pytest.approx(0.8 + 0.2 / math.sqrt(2))


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5, 1.0])
def test_linear_predictor_that_is_a_power_of_the_correlation_is_aligned_and_has_its_exponent(exponent: float) -> None:
    values, vectors = np.linalg.eigh((SKEWED.T @ SKEWED).numpy())
    power = torch.from_numpy(vectors @ np.diag(values**exponent) @ vectors.T)
    found = measure_linear_predictor(7 * power, SKEWED)
    assert found["predictor_alignment"] == pytest.approx(1.0)
    assert found["predictor_asymmetry"] == pytest.approx(0.0, abs=1e-9)
    assert found["predictor_exponent"] == pytest.approx(exponent, abs=1e-9)


def test_linear_predictor_measures_equal_numpys_and_turn_with_the_projections() -> None:
    matrix, f = drawn(24, 24, seed=8) + 2 * torch.eye(24), SKEWED.T @ SKEWED / 60
    values, vectors = np.linalg.eigh(f.numpy())
    p = matrix.numpy()
    image = vectors.T @ p
    diagonal = np.array([image[j] @ vectors[:, j] for j in range(24)])
    cosine = diagonal / np.linalg.norm(image, axis=1)
    kept = diagonal > 0
    slope = np.polyfit(np.log(values[kept]), np.log(diagonal[kept]), 1, w=np.sqrt(values[kept]))[0]
    expected = {
        "predictor_alignment": np.average(cosine, weights=values),
        "predictor_asymmetry": np.linalg.norm(p - p.T) / np.linalg.norm(p),
        "predictor_exponent": slope,
        "predictor_stable_rank": (np.linalg.norm(p) / np.linalg.norm(p, 2)) ** 2,
    }
    assert measure_linear_predictor(matrix, SKEWED) == pytest.approx(expected, rel=1e-8)
    turn = rotation(24)
    turned = measure_linear_predictor(turn.T @ matrix @ turn, 5 * SKEWED @ turn)
    assert turned == pytest.approx(expected, rel=1e-8)


def test_linear_predictor_with_fewer_images_than_dimensions_is_measured_where_there_is_variance() -> None:
    found = measure_linear_predictor(torch.eye(24), SKEWED[:6])
    assert found["predictor_alignment"] == pytest.approx(1.0)
    assert found["predictor_exponent"] == pytest.approx(0.0, abs=1e-9)


def test_linear_predictor_that_is_not_finite_has_no_measures() -> None:
    assert measure_linear_predictor(torch.full((2, 2), torch.nan), torch.ones(3, 2)) == {}
    assert measure_linear_predictor(torch.eye(2), torch.zeros(3, 2)) == {}
