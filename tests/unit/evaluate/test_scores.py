"""Intervals of accuracies by hand."""

import math

import pytest
import torch

from byol.evaluate.scores import accuracy, mean_over_runs, paired_difference


def test_accuracy_wilson_interval_by_hand() -> None:
    score = accuracy(torch.tensor([True] * 8 + [False] * 2))
    assert (score.value, score.low, score.high) == pytest.approx((80.0, 49.02, 94.33), abs=0.01)


def test_paired_difference_by_hand() -> None:
    score = paired_difference(torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 0, 0, 0]))
    half = 1.959964 * math.sqrt(1 / 3) / 2 * 100
    assert (score.value, score.low, score.high) == pytest.approx((50, 50 - half, 50 + half), abs=1e-3)


def test_mean_over_runs_by_hand() -> None:
    score = mean_over_runs([1.0, 2.0, 3.0])
    assert (score.value, score.high) == pytest.approx((2.0, 2 + 4.303 / math.sqrt(3)), abs=1e-6)
