"""Neighbours, clusters, duplicates and odd images of a gallery, against a slow loop."""

import pytest
import torch
from torch.nn import functional

from byol.report.gallery import gallery
from tests.unit.report.unit_vectors import blobs


def test_gallery_neighbours_equal_a_slow_loop() -> None:
    unit, _ = blobs()
    seen = gallery(unit, num_clusters=3, num_neighbours=4)
    for row in range(len(unit)):
        others = [(float(unit[row] @ unit[k]), k) for k in range(len(unit)) if k != row]
        best = sorted(others, reverse=True)[:4]
        assert seen.similarities[row].tolist() == pytest.approx([value for value, _ in best], abs=1e-6)
        assert seen.neighbours[row].tolist() == [k for _, k in best]


def test_gallery_finds_duplicate_odd_and_typical_images() -> None:
    unit, _ = blobs()
    unit[7] = unit[3]
    unit[59] = torch.eye(8)[7]
    seen = gallery(unit, num_clusters=3, shown=5)
    assert seen.pairs[0] == (3, 7, pytest.approx(1.0))
    assert seen.odd[0] == 59
    assert 59 not in seen.typical
    assert len(seen.pairs) == len(seen.odd) == len(seen.typical) == 5


def test_gallery_holds_what_lies_between_all_others_odd_and_not_typical() -> None:
    unit, _ = blobs(num_blobs=3, each=20)
    unit[30] = functional.normalize(torch.eye(8)[:3].sum(dim=0), dim=0)
    seen = gallery(unit, num_clusters=3, shown=30)
    assert int((unit @ unit.mean(dim=0)).argmax()) == seen.odd[0] == 30
    assert not set(seen.typical) & set(seen.odd)


def test_gallery_clusters_are_the_blobs_largest_first() -> None:
    unit, labels = blobs()
    kept = torch.cat((torch.arange(10), torch.arange(20, 60)))
    seen = gallery(unit[kept], num_clusters=3, shown=4)
    assert seen.sizes == [20, 20, 10]
    for number, members in enumerate(seen.members):
        inside = seen.cluster == number
        assert labels[kept][inside].unique().numel() == 1
        assert all(bool(inside[member]) for member in members)
    assert len(seen.members[2]) == 4


def test_gallery_of_two_images_works() -> None:
    seen = gallery(torch.eye(2), num_clusters=5)
    assert seen.neighbours.tolist() == [[1], [0]]
    assert seen.pairs == [(0, 1, 0.0)]
    assert sum(seen.sizes) == 2
