"""Nearest neighbours in chunks, in bf16 first and in float32."""

import pytest
import torch

from byol.evaluate import nearest
from tests.unit.evaluate.blobs import GENERATOR, blobs


def test_nearest_holds_one_chunk_of_similarities_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 8)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 32)
    seen, whole = [], torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda self, *a, **k: seen.append(self.numel()) or whole(self, *a, **k))
    cosine, place = nearest.nearest(blobs(40)[0], blobs(500)[0], 5)
    assert max(seen) == 8 * 32
    assert cosine.shape == place.shape == (40, 5)
    assert bool((cosine[:, :-1] >= cosine[:, 1:]).all())


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_nearest_by_bf16_first_is_that_of_float32(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = (1 + spread * torch.randn(n, 37, generator=GENERATOR) for n in (40, 3000))
    monkeypatch.setattr(nearest, "QUERY_CHUNK", 16)
    monkeypatch.setattr(nearest, "BANK_CHUNK", 1100)
    cosine, place = nearest.nearest(queries, bank, 20)
    monkeypatch.setattr(nearest, "WORTH_BUILDING", 0)
    monkeypatch.setattr(nearest, "computes_in_bf16", lambda device: True)  # without the hardware slow, but the same
    bounds, operator = [], nearest._operator()
    monkeypatch.setattr(nearest, "_operator", lambda: lambda *a: bounds.append(a[6]) or operator(*a))
    candidate_cosine, candidate_place = nearest.nearest(queries, bank, 20)
    assert max(bounds) < 0.02 * spread  # few candidates even where all vectors are similar
    assert torch.allclose(candidate_cosine, cosine, atol=1e-6)
    unit = torch.nn.functional.normalize(bank.double(), dim=1)
    asked = torch.nn.functional.normalize(queries.double(), dim=1)
    exact = (asked @ unit.T).topk(20, dim=1).values
    assert torch.allclose((asked @ unit.T).gather(1, candidate_place), exact, atol=2e-7)
    assert spread < 1 or float((candidate_place == place).float().mean()) > 0.99  # else float32 itself cannot tell
