"""kNN against hand values and a plain loop."""

import math

import numpy as np
import pytest
import torch

from byol.evaluate import nearest
from byol.evaluate.knn import knn_predict, votes
from tests.unit.evaluate.blobs import blobs


def test_knn_by_hand() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    queries = torch.tensor([[2.0, 0.0], [0.1, 3.0]])
    assert knn_predict(bank, labels, queries, k=1).tolist() == [0, 1]
    assert knn_predict(bank, labels, queries, k=3, temperature=100.0).tolist() == [1, 1]


def test_knn_chunks_agree_and_match_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 16)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 33)
    bank, labels = blobs(200)
    queries, _ = blobs(50)
    found = knn_predict(bank, labels, queries, k=7, temperature=0.1)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    cosine = unit(queries.double().numpy()) @ unit(bank.double().numpy()).T
    for row, predicted in zip(cosine, found.tolist(), strict=True):
        places = np.argsort(-row)[:7]
        votes = np.bincount(labels.numpy()[places], weights=np.exp(row[places] / 0.1), minlength=3)
        assert predicted == votes.argmax()


def test_votes_are_weighted_by_cosine_and_temperature() -> None:
    cosine, labels = torch.tensor([[0.9, 0.5, 0.4]]), torch.tensor([[0, 1, 1]])
    found = votes(cosine, labels, 0.1, 3)
    torch.testing.assert_close(found, torch.tensor([[1.0, math.exp(-4) + math.exp(-5), 0.0]]))
    assert int(votes(cosine, labels, 10.0, 3).argmax()) == 1  # warm enough, two weak votes beat a strong one


def test_votes_at_a_tiny_temperature_are_the_nearest_ones() -> None:
    cosine, labels = torch.tensor([[0.9, 0.5, 0.4], [-0.2, -0.3, -0.4]]), torch.tensor([[2, 1, 1], [1, 0, 0]])
    assert votes(cosine, labels, 1e-6, 3).tolist() == [[0, 0, 1], [0, 1, 0]]
