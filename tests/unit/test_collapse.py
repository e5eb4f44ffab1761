"""The collapse watch: hand values and verdicts."""

import pytest
import torch

from byol.diagnostics.collapse import CollapseWatch, judge, verdict, watch


def test_watch_collapsed_vectors_say_collapsed() -> None:
    vectors = torch.ones(32, 16) + 1e-4 * torch.randn(32, 16)
    assert verdict(watch(vectors, vectors)).startswith("collapsed")


def test_watch_isotropic_vectors_say_healthy() -> None:
    vectors = torch.randn(512, 32, generator=torch.Generator().manual_seed(0))
    seen = watch(vectors, vectors)
    assert seen.std_ratio == pytest.approx(1.0, abs=0.02)
    assert seen.positive_cosine == pytest.approx(1.0, abs=1e-5)
    assert abs(seen.negative_cosine) < 0.01
    assert verdict(seen).startswith("healthy")


def test_watch_hand_values() -> None:
    online = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    target = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    seen = watch(online, target)
    half = 0.5**0.5
    assert (seen.positive_cosine, seen.negative_cosine) == pytest.approx((half, 0.0), abs=1e-6)
    assert seen.std_ratio == pytest.approx(0.5 * 2**0.5)


def test_verdict_names_its_evidence() -> None:
    said = verdict(CollapseWatch(0.02, 1.7, 0.998, 0.996))
    assert "std 0.02 of isotropic" in said and "rank 1.7" in said and "1.00 between images" in said


def test_watch_of_infinite_projections_is_unknown() -> None:
    assert verdict(watch(torch.full((4, 3), torch.inf), torch.ones(4, 3))).startswith("unknown")


def measures(train_std: float, eval_std: float) -> dict:
    def mode(std: float) -> dict:
        projection = {"std_ratio": std, "effective_rank": 9.0}
        return {"projection": projection, "networks": {"positive_cosine": 0.8, "negative_cosine": 0.1}}

    return {"eval": mode(eval_std), "train": mode(train_std)}


def test_judge_agreeing_modes_give_one_sentence() -> None:
    assert judge(measures(0.9, 0.8)) == verdict(CollapseWatch(0.9, 9.0, 0.8, 0.1))


def test_judge_says_where_eval_mode_differs() -> None:
    said = judge(measures(0.9, 0.001))
    assert said.startswith("healthy") and "In eval mode collapsed" in said


def test_judge_encoder_alone_makes_no_claim() -> None:
    assert judge({"eval": {"representation": {"std_ratio": 0.5}}}).startswith("unknown")
