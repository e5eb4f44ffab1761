"""Heads: strength and temperature by cross-validation, thresholds, few images, several labels."""

import math

import pytest
import torch
from torch.nn import functional

from byol.evaluate.certainty import Guesses, certainty, choose_threshold, guesses
from byol.evaluate.head import HeldOut, calibrate, fit_head, folds_of
from tests.unit.evaluate.blobs import blobs

GENERATOR = torch.Generator().manual_seed(0)


def logits_of(count: int, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax is the true probability of the drawn labels."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return logits, labels


def test_temperature_undoes_a_factor_on_the_logits() -> None:
    logits, labels = logits_of(20_000)
    assert calibrate(logits, labels, len(labels))[0] == pytest.approx(1, abs=0.03)
    assert calibrate(3 * logits, labels, len(labels))[0] == pytest.approx(3, abs=0.1)


def test_temperature_has_the_lowest_cross_entropy() -> None:
    logits, labels = logits_of(500)
    temperature, loss = calibrate(logits, labels, 10**9)
    assert loss == pytest.approx(float(functional.cross_entropy(logits / temperature, labels)), abs=1e-5)
    for other in (0.95, 1.05):
        assert loss < float(functional.cross_entropy(logits / (other * temperature), labels))


def test_temperature_of_a_few_images_all_right_leaves_doubt() -> None:
    """Ten of ten right, of two classes: one more image, half right, makes it 10.5 of 11."""
    logits = torch.tensor([[1.0, -1.0]]).repeat(10, 1)
    temperature, _ = calibrate(logits, torch.zeros(10, dtype=torch.int64), 10)
    assert float((logits[0] / temperature).softmax(0)[0]) == pytest.approx(10.5 / 11, abs=1e-4)


def test_temperature_of_several_labels_leaves_unknown_ones_out() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(5000, 3, generator=generator)
    labels = torch.where(torch.rand(5000, 3, generator=generator) < logits.sigmoid(), 1, -1)
    wrong = labels.clone()
    wrong[:, 2] = -labels[:, 2]
    unknown = labels.clone()
    unknown[:, 2] = 0
    assert calibrate(2 * logits, labels, 5000)[0] == pytest.approx(2, abs=0.1)
    assert calibrate(2 * logits, unknown, 5000)[0] == pytest.approx(2, abs=0.1)
    assert calibrate(2 * logits, wrong, 5000)[0] > 4


def test_head_of_two_images_per_class_is_fitted_and_doubts() -> None:
    features, labels = blobs(6)
    head = fit_head(features, labels, 3)
    test, truth = blobs(300)
    logits = test @ head.weight.T + head.bias
    assert float((logits.argmax(dim=1) == truth).float().mean()) > 0.8
    assert float(logits.softmax(dim=1).max(dim=1).values.mean()) < 0.95
    again = fit_head(features, labels, 3)
    assert torch.equal(again.weight, head.weight) and again.held_out.temperature == head.held_out.temperature


def test_head_is_calibrated_on_images_it_has_not_seen() -> None:
    features, labels = blobs(300, spread=1.5)
    head = fit_head(features, labels, 3)
    test, truth = blobs(3000, spread=1.5)
    found = (test @ head.weight.T + head.bias).softmax(dim=1)
    right = (found.argmax(dim=1) == truth).float().mean()
    assert float(found.max(dim=1).values.mean()) == pytest.approx(float(right), abs=0.04)
    assert sorted(head.held_out.rows.tolist()) == list(range(300))


def test_only_image_of_a_class_is_never_held_out() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    assert {int(row) for _, out in folds_of(labels, 0) for row in out} == {0, 1, 2, 3, 4}
    assert folds_of(torch.arange(3), 0) == []
    several = torch.tensor([[1, -1], [1, -1], [1, 1], [-1, -1], [-1, -1]])  # the second label is on one image
    assert {int(row) for _, out in folds_of(several, 0) for row in out} == {0, 1, 3, 4}


def held_out(probability: list[float], correct: list[bool]) -> HeldOut:
    """Held-out guesses of the first of two classes with these probabilities."""
    p = torch.tensor(probability)
    logits = torch.stack((p.log(), (1 - p).log()), dim=1)
    return HeldOut(torch.arange(len(p)), 1 - torch.tensor(correct).long(), logits, 1.0)


def test_threshold_is_the_lowest_whose_named_images_are_right_often_enough() -> None:
    seen = held_out([0.99, 0.97, 0.95, 0.9, 0.8, 0.7], [True, True, True, True, False, True])
    # at 20 %: up to 0.8 one of five is wrong; with 0.7 one of six, and improbabilities of 0.69 / 6
    assert choose_threshold(seen, 20).threshold == 0.0
    found = choose_threshold(seen, 10)
    assert found.threshold == pytest.approx(0.85) and found.named == pytest.approx(100 * 4 / 6)
    assert found.wrong is not None and found.wrong.value == 0
    none = choose_threshold(seen, 0.5)
    assert (none.threshold, none.named, none.wrong) == (1.0, 0.0, None)


def test_threshold_does_not_trust_probabilities_that_are_too_low_to_promise() -> None:
    """Three of three right is no error of 0 where each has a probability of 0.8."""
    seen = held_out([0.8, 0.8, 0.8], [True] * 3)
    assert choose_threshold(seen, 5).threshold == 1.0
    assert choose_threshold(seen, 20.01).threshold == 0.0


def test_equal_probabilities_are_named_together() -> None:
    seen = held_out([0.9, 0.9, 0.9, 0.6], [True, True, False, True])
    assert choose_threshold(seen, 10).threshold == 1.0


def test_repeated_guesses_count_once_for_the_interval() -> None:
    once = certainty(Guesses(torch.full((20,), 0.9), torch.arange(20) > 1, 1.0), 0.5)
    five = certainty(Guesses(torch.full((100,), 0.9), (torch.arange(20) > 1).repeat(5), 5.0), 0.5)
    assert once.wrong is not None and five.wrong is not None
    assert (five.wrong.low, five.wrong.high) == pytest.approx((once.wrong.low, once.wrong.high))


def test_several_labels_are_named_above_a_half_alone() -> None:
    features = torch.randn(200, 5, generator=GENERATOR)
    truth = features @ torch.randn(5, 3, generator=GENERATOR) > 0.5
    labels = torch.where(truth, 1, -1)
    labels[:20, 1] = 0
    head = fit_head(features, labels, 3)
    found = (features @ head.weight.T + head.bias).sigmoid()
    assert float(((found > 0.5) == truth).float().mean()) > 0.9
    seen = guesses(head.held_out)
    assert len(seen.correct) == 580 and seen.labels == int((labels > 0).sum())
    assert choose_threshold(head.held_out, 100).threshold == 0.5
    strict = choose_threshold(head.held_out, 2)
    assert strict.threshold > 0.5 and strict.wrong is not None and strict.wrong.value <= 2
    assert math.isclose(
        strict.named,
        100 * float((seen.correct & (seen.probability > strict.threshold)).sum()) / int((labels > 0).sum()),
        rel_tol=1e-6,
    )
