"""All measures together."""

import math

import pytest
import torch

from byol.diagnostics.measures import measure_encodings, measure_networks, measure_predictor, measure_step
from byol.diagnostics.similarity import std_ratio
from byol.diagnostics.spectrum import lidar, rankme
from tests.unit.diagnostics.encodings import drawn


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


def test_measures_of_a_step_that_is_not_finite_are_left_out() -> None:
    broken = torch.ones(4, 2)
    broken[1, 1] = math.nan
    assert measure_step(broken, torch.ones(4, 2)) == measure_step(torch.ones(4, 2), broken) == {}
