"""The collapse watch and its verdict."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from byol.diagnostics.collapse import (
    FEWEST_STEPS,
    LIMITS,
    CollapseWatch,
    Limits,
    can_judge,
    health,
    verdict,
    verdict_of_measures,
    watch,
)

LONG = (FEWEST_STEPS, 0)
"""Steps and warm-up of a training that is long enough for a verdict."""


def test_watch_collapsed_vectors_say_collapsed() -> None:
    vectors = torch.ones(32, 16) + 1e-4 * torch.randn(32, 16)
    assert verdict(watch(vectors, vectors), *LONG).startswith("collapsed")


def test_watch_isotropic_vectors_say_healthy() -> None:
    vectors = torch.randn(512, 32, generator=torch.Generator().manual_seed(0))
    seen = watch(vectors, vectors)
    assert seen.std_ratio == pytest.approx(1.0, abs=0.02)
    assert seen.positive_cosine == pytest.approx(1.0, abs=1e-5)
    assert abs(seen.negative_cosine) < 0.01
    assert verdict(seen, *LONG).startswith("healthy")


def test_watch_hand_values() -> None:
    online = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    target = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    seen = watch(online, target)
    half = 0.5**0.5
    assert (seen.positive_cosine, seen.negative_cosine) == pytest.approx((half, 0.0), abs=1e-6)
    assert seen.std_ratio == pytest.approx(0.5 * 2**0.5)


def test_verdict_names_its_evidence_against_the_limits() -> None:
    said = verdict(CollapseWatch(0.02, 1.7, 0.998, 0.996), *LONG)
    assert said.startswith("collapsed")
    for limit, number in ((LIMITS.cosine_gap, "gap 0.00"), (LIMITS.effective_rank, "1.7"), (LIMITS.std_ratio, "0.02")):
        assert f"{number} < {limit:g}" in said
    assert "1.00 between views of one image and 1.00 between images" in said


@pytest.mark.parametrize("measured", [(0.02, 1.7, 0.998, 0.996), (0.9, 20.0, 0.9, 0.1)])
def test_a_short_training_gets_its_numbers_and_no_verdict(measured: tuple[float, float, float, float]) -> None:
    said = verdict(CollapseWatch(*measured), FEWEST_STEPS + 9, 10)
    assert said.startswith(
        f"too short to tell: {FEWEST_STEPS + 9} steps, and a verdict needs {FEWEST_STEPS} after the warm-up of 10"
    )
    assert f"effective rank {measured[1]:.1f}" in said
    assert "collapsed" not in said and "healthy" not in said
    assert [can_judge(FEWEST_STEPS + 9, 10), can_judge(FEWEST_STEPS + 10, 10)] == [False, True]
    assert verdict_of_measures(measures(0.0, 0.98), 1).startswith("too short to tell: 1 step, and a verdict needs")


@pytest.mark.parametrize(
    ("gap", "rank", "std", "expected"),
    [
        (0.01, 1.0, 0.1, "collapsed"),
        (0.01, 1.0, 0.9, "collapsed"),  # few directions (weight decay)
        (0.01, 90.0, 0.1, "collapsed"),  # a constant with noise around it
        (0.05, 38.0, 0.8, "partially collapsed"),  # as before training
        (0.6, 3.0, 0.9, "partially collapsed"),
        (0.6, 12.0, 0.8, "healthy"),
    ],
)
def test_health_follows_the_three_limits(gap: float, rank: float, std: float, expected: str) -> None:
    seen = CollapseWatch(std, rank, 0.7, 0.7 - gap)
    assert health(seen, Limits(0.14, 5.0, 0.4)) == expected


def test_limits_are_the_fitted_ones() -> None:
    fitted = json.loads((Path(__file__).parents[3] / "benchmarks" / "collapse_studies.json").read_text())
    assert asdict(LIMITS) == fitted["limits"]


def test_watch_of_infinite_projections_is_unknown() -> None:
    assert verdict(watch(torch.full((4, 3), torch.inf), torch.ones(4, 3)), *LONG).startswith("unknown")


def measures(train_negative: float, eval_negative: float) -> dict:
    def mode(negative: float) -> dict:
        projection = {
            "std_ratio": 1.1 * (1 - negative),
            "effective_rank": 40.0,
        }  # not of unit vectors, so not what is judged
        cosines = {"positive_cosine": 0.99, "negative_cosine": negative}
        return {"projection": projection, "networks": {**cosines, "unit_effective_rank": 1 + 9 * (1 - negative)}}

    return {"eval": mode(eval_negative), "train": mode(train_negative)}


def test_judge_agreeing_modes_give_one_sentence() -> None:
    assert verdict_of_measures(measures(0.0, 0.1), *LONG) == verdict(CollapseWatch(1.1, 10.0, 0.99, 0.0), *LONG)


def test_judge_says_where_eval_mode_differs() -> None:
    said = verdict_of_measures(measures(0.0, 0.98), *LONG)
    assert said.startswith("healthy") and "In eval mode collapsed" in said


def test_judge_encoder_alone_makes_no_claim() -> None:
    said = verdict_of_measures({"eval": {"representation": {"std_ratio": 0.5, "effective_rank": 12.0}}})
    assert said.startswith("unknown") and "effective rank 12.0" in said
