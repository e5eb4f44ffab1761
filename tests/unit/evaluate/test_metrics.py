"""Metrics against hand values and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from byol.evaluate.metrics import (
    average_precision_11_point,
    bootstrap,
    calibration_error,
    mean_average_precision,
    mean_average_precision_11_point,
    mean_per_class,
    normalized_mutual_information,
    top_5,
    top_k,
)
from tests.unit.evaluate.blobs import GENERATOR, scored


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    scores, labels = scored()
    expected = oracle.top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k)
    assert top_k(scores, labels, k).value == pytest.approx(100 * expected, abs=1e-4)


def test_mean_per_class_agrees_with_scikit_learn_and_has_the_normal_interval() -> None:
    scores, labels = scored()
    guess = scores.argmax(dim=1)
    found = mean_per_class(guess == labels, labels)
    assert found.value == pytest.approx(100 * oracle.balanced_accuracy_score(labels.numpy(), guess.numpy()), abs=1e-6)
    by_hand = mean_per_class(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 1, 1]))
    assert (by_hand.value, by_hand.low) == pytest.approx(
        (75.0, 75 - 100 * 1.959964 * math.sqrt(0.125 + 0.75 * 0.25 / 2) / 2), abs=1e-4
    )
    one_each = mean_per_class(torch.tensor([True, False]), torch.tensor([0, 1]))
    assert (one_each.low, one_each.value, one_each.high) == (0, 50, 100)


def test_average_precision_by_hand() -> None:
    positive = torch.tensor([True, False, True, False])
    precision_from_recall = [1.0] * 6 + [2 / 3] * 5  # recall 0 to 0.5 is met at once, above it at the third
    found = average_precision_11_point(torch.tensor([4.0, 3.0, 2.0, 1.0]), positive)
    assert found == pytest.approx(sum(precision_from_recall) / 11, abs=1e-9)
    assert average_precision_11_point(torch.tensor([1.0, 2.0]), torch.tensor([False, True])) == 1.0


def test_average_precision_agrees_with_scikit_learns_curve() -> None:
    scores, labels = scored()
    positive = torch.nn.functional.one_hot(labels, 7).bool()
    values = []
    for c in range(7):
        precision, recall, _ = oracle.precision_recall_curve(positive[:, c].numpy(), scores[:, c].numpy())
        precision, recall = precision[:-1], recall[:-1]  # without the point (0, 1), which no image stands for
        values.append(np.mean([precision[recall >= level / 10 - 1e-12].max() for level in range(11)]))
    found = mean_average_precision(scores, 2 * positive.int() - 1)
    assert found.value == pytest.approx(100 * float(np.mean(values)), abs=1e-6)
    assert found.low < found.value < found.high


def test_top_5_is_left_out_where_there_are_no_more_classes() -> None:
    scores, labels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 5
    assert top_5(scores[:, :5], labels) == {}
    assert top_5(scores, labels) == {"top-5": top_k(scores, labels, 5)}


def test_unknown_labels_count_neither_way() -> None:
    scores = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    known = mean_average_precision_11_point(scores[[0, 2, 3]], torch.tensor([[-1], [1], [-1]]))
    assert mean_average_precision_11_point(scores, torch.tensor([[-1], [0], [1], [-1]])) == known == 0.5


def test_mutual_information_agrees_with_scikit_learn() -> None:
    _, labels = scored()
    cluster = (labels + torch.randint(3, labels.shape, generator=GENERATOR)) % 5
    expected = oracle.normalized_mutual_info_score(labels.numpy(), cluster.numpy())
    assert normalized_mutual_information(cluster, labels) == pytest.approx(expected, abs=1e-9)
    assert normalized_mutual_information(labels, labels) == pytest.approx(1.0)
    sparse = 10**15 * labels - 7
    assert normalized_mutual_information(cluster, sparse) == pytest.approx(expected, abs=1e-9)


def test_bootstrap_interval_of_a_biased_statistic_holds_its_value() -> None:
    """Independent partitions of 100 rows: their mutual information is overestimated, in each resample twice."""
    generator = torch.Generator().manual_seed(0)
    cluster, labels = torch.randint(10, (2, 100), generator=generator)
    found = bootstrap(lambda rows: normalized_mutual_information(cluster[rows], labels[rows]), 100, seed=0)
    assert found.low < found.value < found.high
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=1.0)


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = torch.randn(400, generator=GENERATOR, dtype=torch.float64)
    found = bootstrap(lambda rows: float(values[rows].mean()), 400, seed=0)
    half = 100 * 1.959964 * float(values.std()) / 20
    assert found.value == pytest.approx(100 * float(values.mean()))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_calibration_error_by_hand() -> None:
    probability = torch.tensor([0.95, 0.85, 0.4, 0.4, 1.0])
    correct = torch.tensor([True, False, True, False, True])
    # bins of two: (0.4, 0.4) has half right; (0.95, 0.85, 1.0), mean 0.9333, two thirds right
    assert calibration_error(probability, correct, bins=2) == pytest.approx(
        40 * 0.1 + 60 * (0.93333 - 0.66667), abs=1e-3
    )


def test_calibration_error_of_probabilities_that_hold_is_near_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(200_000, generator=generator)
    correct = torch.rand(200_000, generator=generator) < probability
    assert calibration_error(probability, correct) < 1
    assert calibration_error(probability.sqrt(), correct) > 10
