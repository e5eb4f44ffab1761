"""The variance of encodings over views."""

import numpy as np
import pytest
import torch

from byol.diagnostics.encoding_variance import encoding_variance
from tests.unit.diagnostics.encodings import drawn, units


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
