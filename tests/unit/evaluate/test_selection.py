"""Choices of images to label: each method against a slow loop or known groups, what is never chosen, refusals."""

import pytest
import torch
from torch.nn import functional

from byol.errors import DataError
from byol.evaluate import selection
from byol.evaluate.selection import METHODS, Known, choose, coverage, margins, mixed, outliers, typical, uncertain
from tests.unit.report.unit_vectors import blobs

NONE = torch.zeros(0, 8)


def covered(unit: torch.Tensor, chosen: list[int]) -> float:
    return float((unit @ unit[chosen].T).clamp_min(0).amax(dim=1).sum())


@pytest.mark.parametrize("known", [0, 3])
def test_coverage_is_the_greedy_one_of_a_slow_loop(known: int) -> None:
    unit = functional.normalize(torch.randn(90, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    before, pool = list(range(known)), unit
    expected: list[int] = []
    for _ in range(6):
        gains = [covered(pool, [*before, *expected, image]) for image in range(90)]
        expected.append(max(range(90), key=lambda image: (image not in expected, gains[image])))
    assert coverage(unit, unit[:known], 6).images.tolist() == expected


def test_typical_images_come_from_every_group_and_from_unlabelled_ones_first() -> None:
    unit, groups = blobs(num_blobs=4, each=25)
    chosen = typical(unit, NONE, 4).images
    assert groups[chosen].sort().values.tolist() == [0, 1, 2, 3]
    centres = torch.eye(8)[groups[chosen]]
    assert float((unit[chosen] * centres).sum(dim=1).mean()) > float((unit * torch.eye(8)[groups]).sum(dim=1).mean())
    labelled = unit[groups == 0][:1]
    assert set(groups[typical(unit, labelled, 3).images].tolist()) == {1, 2, 3}


def test_uncertain_images_have_the_smallest_margins_and_say_between_what() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.1, 0.45, 0.45], [0.9, 0.1, 0.0]])
    assert margins(probabilities).tolist() == pytest.approx([0.2, 0.01, 0.0, 0.8], abs=1e-6)
    choice = uncertain(probabilities, 2, ["ant", "bee", "cat"])
    assert choice.images.tolist() == [2, 1]
    assert choice.reasons[0] in ("unsure: bee (0.45) or cat (0.45)", "unsure: cat (0.45) or bee (0.45)")


def test_outlier_is_the_image_far_from_all() -> None:
    unit, _ = blobs()
    unit[17] = torch.eye(8)[7]
    assert outliers(unit, 3).images[0] == 17


def test_mixed_covers_until_each_class_has_some_labels_then_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "FEW", 4)
    unit, _ = blobs()
    probabilities = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    asked, covers = uncertain(probabilities, 60, "ab").images.tolist(), coverage(unit, unit[:5], 6).images.tolist()
    assert mixed(unit, unit[:5], 6, None, "").images.tolist() == covers
    later = [image for image in asked if image not in covers[:3]][:3]
    assert mixed(unit, unit[:5], 6, probabilities, "ab").images.tolist() == covers[:3] + later
    assert mixed(unit, unit[:8], 6, probabilities, "ab").images.tolist() == asked[:6]


@pytest.mark.parametrize("by", METHODS)
def test_chosen_images_are_neither_like_each_other_nor_like_labelled_ones(by: selection.Method) -> None:
    vectors = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    vectors[60:110] = vectors[:50] + 1e-3  # copies
    known = Known(vectors[[0, 55]], torch.tensor([0, 1]), ["ant", "bee"])
    choice = choose(vectors, known, 40, by, seed=3)
    images = choice.images.tolist()
    assert len(set(images)) == len(images) == len(choice.scores) == len(choice.reasons) == 40
    assert not {0, 55, 60} & set(images)
    assert not {image + 60 for image in images if image < 50} & set(images)
    again = choose(vectors, known, 40, by, seed=3)
    assert again.images.tolist() == images and again.reasons == choice.reasons


def test_bad_request_is_one_sentence() -> None:
    vectors, _ = blobs()
    with pytest.raises(DataError, match="61 images cannot be chosen of 60; lower --count"):
        choose(vectors, Known(NONE), 61, "coverage")
    one_class = Known(vectors[:3], torch.zeros(3, dtype=torch.long), ["ant"])
    with pytest.raises(DataError, match=r"two classes or more; found 1\. Choose the first images by coverage"):
        choose(vectors, one_class, 5, "uncertain")
    with pytest.raises(DataError, match="two classes or more; found none"):
        choose(vectors, Known(NONE), 5, "uncertain")
    with pytest.raises(DataError, match="Every image is labelled already"):
        choose(vectors, Known(vectors), 5, "coverage")
