"""Probes and scores against hand values and independent implementations."""

import math

import numpy as np
import pytest
import torch

from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import accuracy, mean_over_runs, paired_difference

GENERATOR = torch.Generator().manual_seed(0)


def blobs(count: int, spread: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 3
    centres = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
    return centres[labels] + spread * torch.randn(count, 4, generator=GENERATOR), labels


def test_knn_by_hand() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    queries = torch.tensor([[2.0, 0.0], [0.1, 3.0]])
    assert knn_predict(bank, labels, queries, k=1).tolist() == [0, 1]
    assert knn_predict(bank, labels, queries, k=3, temperature=100.0).tolist() == [1, 1]


def test_knn_chunks_agree_and_match_a_plain_loop() -> None:
    bank, labels = blobs(200)
    queries, _ = blobs(50)
    found = knn_predict(bank, labels, queries, k=7, temperature=0.1, chunk=16)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    cosine = unit(queries.double().numpy()) @ unit(bank.double().numpy()).T
    for row, predicted in zip(cosine, found.tolist(), strict=True):
        nearest = np.argsort(-row)[:7]
        votes = np.bincount(labels.numpy()[nearest], weights=np.exp(row[nearest] / 0.1), minlength=3)
        assert predicted == votes.argmax()


def test_linear_separable_blobs_are_learned_and_strength_is_chosen_by_validation() -> None:
    features, labels = blobs(600)
    test_features, test_labels = blobs(300)
    probe = fit_linear(features, labels)
    assert float((probe.predict(test_features) == test_labels).float().mean()) > 0.97
    noise = torch.randn(60, 200, generator=GENERATOR)
    assert fit_linear(noise, torch.arange(60) % 3, folds=5).strength > 0


def test_linear_reaches_the_optimum_of_its_objective() -> None:
    features, labels = blobs(150, spread=1.0)
    probe = fit_linear(features, labels, strengths=(0.01,))
    inputs = probe.inputs(features).double()
    weight = probe.weight.double().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(inputs @ weight, labels) + 0.005 * weight[:-1].square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert float(gradient.abs().max()) < 1e-4


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
