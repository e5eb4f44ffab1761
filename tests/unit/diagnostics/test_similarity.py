"""Cosines, alignment, uniformity and standard deviation of encodings."""

import math

import numpy as np
import pytest
import torch

from byol.diagnostics.similarity import alignment, cosines, std_ratio, uniformity
from tests.unit.diagnostics.encodings import SKEWED, drawn, rotation, units

OTHER = SKEWED + 0.2 * drawn(60, 24, seed=1)


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
