"""The maps of many images: a part is laid out, the others are placed beside it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from byol.explore.layout import LANDMARKS, draw_maps, place
from byol.runtime.listener import Listener
from tests.unit.report.unit_vectors import blobs


def test_landmarks_stay_and_others_are_placed_by_nearness() -> None:
    generator = torch.Generator().manual_seed(0)
    landmarks = functional.normalize(torch.randn(20, 6, generator=generator), dim=1)
    points = torch.rand(20, 2, generator=generator).numpy()
    other = functional.normalize(0.7 * landmarks[3:4] + 0.3 * landmarks[8:9], dim=1)
    found = place(torch.cat((landmarks, other)), landmarks, points)
    assert np.abs(found[:20] - points).max() < 1e-3
    away = np.linalg.norm(points - found[20], axis=1)
    gap = np.sort(np.linalg.norm(points - points[3], axis=1))[1]
    assert int(away.argmin()) == 3 and 0 < away[3] <= gap / 2  # beside the most similar one
    next_ones = (landmarks @ other[0]).argsort(descending=True)[1 : LANDMARKS + 1]
    distance = 1 - (landmarks[next_ones] @ other[0]).numpy()
    way = np.average(points[next_ones], axis=0, weights=1 / distance) - points[3]
    cosine = way @ (found[20] - points[3]) / np.linalg.norm(way) / away[3]
    assert cosine == pytest.approx(1, abs=1e-3)


def test_map_of_many_keeps_blobs_together_and_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.explore.layout.MOST_LAID_OUT", 60)
    unit, labels = blobs(each=100)
    said: list[str] = []
    done: list[tuple[str, int, int]] = []
    found = draw_maps(unit, Listener(said.append, lambda *of: done.append(of)))
    assert list(found) == ["t-SNE", "PCA"] and all(points.shape == (300, 2) for points in found.values())
    assert any("t-SNE lays out 60 of them" in line for line in said)
    assert done[-1] == ("placing images on the map", 300, 300)
    plane = torch.from_numpy(found["t-SNE"])
    nearest = torch.cdist(plane, plane).fill_diagonal_(9).argmin(dim=1)
    assert float((labels[nearest] == labels).float().mean()) > 0.95
