"""Judgements of expectations, by hand."""

import math

import pytest

from byol.studies import find_study
from byol.studies.judge import judge, over_seeds
from byol.studies.study import UNTRAINED, Collapse, Contrast
from tests.unit.studies.small_study import COLLAPSED, HEALTHY


def test_judge_compares_with_the_untrained_encoder() -> None:
    (shape,) = [
        s for s in find_study("target-rate").shapes_at("tiny") if isinstance(s, Contrast) and UNTRAINED in s.weights
    ]
    untrained = [{"knn": 30.0}, {"knn": 31.0}, {"knn": 29.0}]
    fixed = [{"knn": 35.0}, {"knn": 36.5}, {"knn": 34.5}]
    found = judge(shape, {"fixed random target": fixed, UNTRAINED: untrained})
    assert found.state == "held" and "+5.3" in found.evidence


def test_judge_contrast_hand_values() -> None:
    shape = Contrast("a above b", {"a": 1, "b": -1}, gap=2.0)

    def found(*differences: float) -> str:
        outcomes = {"a": [{"knn": 50 + d} for d in differences], "b": [{"knn": 50.0} for _ in differences]}
        return judge(shape, outcomes).state

    assert found(3.0, 3.1, 2.9) == "held"
    assert found(-3.0, -3.1, -2.9) == "did not hold"
    assert found(0.3, -0.3, 0.1) == "undecided"  # 1.5 wide: a gap of 2 would have been seen
    assert found(0.5, -0.5, 0.1) == "underpowered"  # 2.5 wide
    assert found(9.0, -4.0, 1.0) == "underpowered"
    assert found(3.0) == "underpowered"  # one seed has no interval
    assert found(3.0, math.nan, 3.0) == "underpowered"
    assert (
        "+3.0 [2.8, 3.2], n = 3; 2 expected"
        in judge(shape, {"a": [{"knn": v} for v in (53.0, 53.1, 52.9)], "b": [{"knn": 50.0}] * 3}).evidence
    )


def test_judge_contrast_without_a_gap_of_the_source() -> None:
    shape = Contrast("a above b", {"a": 1, "b": -1}, gap=None)
    outcomes = {"a": [{"knn": 50.0}, {"knn": 59.0}], "b": [{"knn": 50.0}] * 2}
    found = judge(shape, outcomes)
    assert found.state == "undecided" and "expected" not in found.evidence
    assert judge(shape, {name: values[:1] for name, values in outcomes.items()}).state == "underpowered"


def test_judge_contrast_with_a_diverged_variant_says_so() -> None:
    shape = Contrast("a beats b", {"a": 1, "b": -1}, 3.0)
    failed = {"failed": "The loss became nan", "knn": float("nan")}
    found = judge(shape, {"a": [{"knn": 50.0}] * 3, "b": [failed, {"knn": 40.0}, failed]})
    assert (found.state, found.evidence) == ("undecided", "b diverged in 2 of 3 seeds")


def test_judge_collapse_needs_every_seed() -> None:
    shape, not_expected = Collapse("a collapses", "a"), Collapse("a does not", "a", False)
    assert judge(shape, {"a": [COLLAPSED, COLLAPSED]}).state == "held"
    assert judge(not_expected, {"a": [COLLAPSED, COLLAPSED]}).state == "did not hold"
    assert judge(not_expected, {"a": [HEALTHY, HEALTHY]}).state == "held"
    assert judge(shape, {"a": [HEALTHY, COLLAPSED]}).state == "undecided"
    for one in (HEALTHY, COLLAPSED):
        assert judge(shape, {"a": [one]}).state == "underpowered"
    found = judge(shape, {"a": [COLLAPSED, {"failed": "The loss became nan", "knn": math.nan}]})
    assert (found.state, found.evidence) == ("undecided", "a diverged in 1 of 2 seeds")


def test_over_seeds_is_students_interval() -> None:
    score = over_seeds([1.0, 2.0, 3.0])
    assert (score.value, score.high - score.value) == pytest.approx((2.0, 4.303 / math.sqrt(3)), abs=1e-3)
