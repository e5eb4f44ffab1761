"""Near-duplicates: groups by vectors and pictures, images that are too alike, leaks."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from byol.data.arrays import ArrayImages
from byol.evaluate.duplicates import Surroundings, correlations, distinct, near_groups
from byol.evaluate.features import Features
from byol.evaluate.leaks import count_leaks
from tests.conftest import picture


def spread_out(count: int, width: int = 16) -> torch.Tensor:
    return functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


def digests(count: int) -> np.ndarray:
    return np.array([number.to_bytes(16, "big") for number in range(count)], "V16")


def test_groups_are_connected_components_of_near_pairs_and_of_equal_pixels() -> None:
    unit, digest = spread_out(60), digests(60)
    for image, other in ((11, 5), (30, 11), (31, 30)):  # a chain
        unit[image] = functional.normalize(unit[other] + 0.03 * unit[50], dim=0)
    digest[40] = digest[7]
    small = np.random.default_rng(0).integers(0, 256, (60, 64)).astype(np.uint8)
    small[[11, 30, 31]] = small[5] // 2 + small[[11, 30, 31]] // 3  # the same picture, somewhat
    assert near_groups(Surroundings.of(unit), small, digest) == [[5, 11, 30, 31], [7, 40]]


def test_nearly_equal_vectors_of_unlike_pictures_are_of_a_weak_encoder() -> None:
    unit, small = spread_out(60), np.random.default_rng(0).integers(0, 256, (60, 64)).astype(np.uint8)
    unit[9] = functional.normalize(unit[3] + 0.03 * unit[50], dim=0)
    assert near_groups(Surroundings.of(unit), small, digests(60)) == []
    train, test = (ArrayImages(np.stack([picture(seed) for seed in seeds])) for seeds in (range(40), range(40, 60)))
    parts = [Features(vectors, None, torch.arange(len(vectors))) for vectors in (unit[:40], unit[40:])]
    parts[1].vectors[0] = unit[9]
    assert count_leaks(train, parts[0], test, parts[1]) == 0


@pytest.mark.parametrize("chunk", [4096, 7])
def test_pictures_decide_where_vectors_alone_do_not(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.evaluate.duplicates.CHUNK", chunk)
    unit, small = spread_out(60), np.random.default_rng(0).integers(0, 256, (60, 64)).astype(np.uint8)
    unit[9] = functional.normalize(unit[3] + 0.6 * unit[50], dim=0)
    surroundings = Surroundings.of(unit)
    assert surroundings.least(0.8) <= float(unit[9] @ unit[3]) < surroundings.least(0.15)
    assert near_groups(surroundings, small, digests(60)) == []
    small[9] = (small[3] // 2) + 10  # darker, and the same picture
    assert near_groups(surroundings, small, digests(60)) == [[3, 9]]
    far = next(image for image in range(60) if float(unit[image] @ unit[3]) < 0)
    small[far] = small[3]  # the same picture with another vector
    assert near_groups(surroundings, small, digests(60)) == [[3, 9]]


def test_limits_are_in_units_of_the_data() -> None:
    unit = spread_out(80)
    wide, narrow = Surroundings.of(unit), Surroundings.of(functional.normalize(unit + 3 * unit[0], dim=1))
    assert wide.least(0.5) == pytest.approx(1 - 0.5 * float((1 - wide.cosine[:, 9]).median()))
    assert narrow.least(0.5) > wide.least(0.5)


def test_correlation_is_pearsons_and_none_for_one_colour() -> None:
    one = np.array([[0, 10, 20, 30], [7, 7, 7, 7]], np.uint8)
    other = np.array([[5, 6, 9, 8], [0, 1, 2, 3]], np.uint8)
    assert correlations(one, other).tolist() == pytest.approx([float(np.corrcoef(one[0], other[0])[0, 1]), 0.0])


@pytest.mark.parametrize("copies", [1, 40])
def test_distinct_images_are_those_that_a_slow_loop_keeps(copies: int) -> None:
    unit = torch.cat((spread_out(50), spread_out(3).repeat(copies, 1)))
    kept: list[int] = []
    for image in range(len(unit)):
        if all(float(unit[image] @ unit[other]) < 0.6 for other in kept):
            kept.append(image)
    found = distinct(unit, Surroundings.of(unit), 0.6)
    between = (unit[found] @ unit[found].T).fill_diagonal_(-1)
    assert float(between.max()) < 0.6
    assert found.tolist() == kept or (copies == 1 and len(found) >= len(kept))


def test_leaks_are_counted_by_vectors_and_pictures() -> None:
    pictures = np.stack([picture(seed) for seed in range(60)])
    train, test = ArrayImages(pictures[:40]), ArrayImages(np.concatenate((pictures[40:], pictures[:3])))
    unit = spread_out(60)
    queries = torch.cat((unit[40:], unit[:2], functional.normalize(unit[2:3] + 0.5 * unit[50:51], dim=1)))
    parts = [Features(vectors, None, torch.arange(len(vectors))) for vectors in (unit[:40], queries)]
    assert count_leaks(train, parts[0], test, parts[1]) == 3
    assert count_leaks(train, parts[0], ArrayImages(pictures[40:]), Features(unit[40:], None, torch.arange(20))) == 0
