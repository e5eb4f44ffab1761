"""The predictor against its optimum."""

import numpy as np
import pytest

from byol.diagnostics.predictor import predictor_optimality
from tests.unit.diagnostics.encodings import drawn, units


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
