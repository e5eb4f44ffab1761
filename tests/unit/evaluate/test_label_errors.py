"""Likely wrong labels: the counts of confident learning by hand, planted ones, classes that are alike."""

import pytest
import torch

from byol.evaluate.label_errors import class_pairs, cross_validated, find_label_errors
from tests.unit.evaluate.blobs import blobs


def test_counts_are_those_worked_out_by_hand() -> None:
    """Thresholds (0.9 + 0.7 + 0.2) / 3 = 0.6 and (0.8 + 0.6 + 0.1) / 3 = 0.5."""
    first = torch.tensor([0.9, 0.7, 0.2, 0.2, 0.4, 0.9])
    probabilities, labels = torch.stack((first, 1 - first), dim=1), torch.tensor([0, 0, 0, 1, 1, 1])
    found = find_label_errors(probabilities, labels)
    assert found.thresholds.tolist() == pytest.approx([0.6, 0.5])
    assert found.joint.tolist() == [[2, 1], [1, 2]]
    assert (found.images.tolist(), found.suggested.tolist()) == ([5, 2], [0, 1])


def test_counts_are_scaled_to_the_images_with_each_label_and_never_name_a_likely_label() -> None:
    first = torch.tensor([0.9, 0.5, 0.55, 0.1])
    probabilities, labels = torch.stack((first, 1 - first), dim=1), torch.tensor([0, 0, 0, 1])
    found = find_label_errors(probabilities, labels)  # images 1 and 2 count for neither class
    assert found.joint.sum(dim=1).tolist() == [3, 1]
    assert found.images.tolist() == []


def test_planted_errors_are_found_first() -> None:
    vectors, labels = blobs(300, spread=0.3)
    flipped = torch.arange(0, 300, 25)
    given = labels.clone()
    given[flipped] = (labels[flipped] + 1) % 3
    found = find_label_errors(cross_validated(vectors, given).exp(), given)
    assert set(found.images.tolist()) <= set(flipped.tolist()) and len(found.images) >= 10
    assert torch.equal(found.suggested, labels[found.images])


def test_own_label_does_not_enter_the_probabilities_of_an_image_nor_of_its_copies() -> None:
    vectors, labels = blobs(120, spread=0.8)
    vectors = torch.cat((vectors, vectors[:1]))
    labels, groups = torch.cat((labels, labels[:1])), torch.arange(121)
    groups[120] = 0
    first = cross_validated(vectors, labels, groups=groups, strengths=(0.1,))
    assert first.exp().sum(dim=1) == pytest.approx(torch.ones(121), abs=1e-5)
    assert torch.allclose(first[0], first[120], atol=1e-4)
    vectors[[0, 120]] = (
        2 * vectors[1] - vectors[4] + torch.tensor([0.0, 0, 0, 9])
    )  # far from all: its own label would decide
    told = [
        float(
            cross_validated(
                vectors,
                torch.cat((torch.tensor([label]), labels[1:120], torch.tensor([label]))),
                groups=kind,
                strengths=(0.001,),
            )[0].exp()[label]
        )
        for kind in (groups, None)
        for label in range(3)
    ]
    assert sum(told[:3]) < sum(told[3:]) - 0.5


def test_pairs_of_classes_count_both_alike_whatever_their_sizes() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 30)
    probabilities = torch.full((70, 3), 0.1)
    probabilities[torch.arange(70), labels] = 0.8
    probabilities[30:40] = torch.tensor([0.5, 0.4, 0.1])  # all of class 1 look like class 0
    hardest, *others = class_pairs(probabilities, labels)
    assert (hardest.one, hardest.other, hardest.told_apart.value) == (0, 1, 50.0) and hardest.is_alike
    assert [pair.told_apart.value for pair in others] == [100.0, 100.0] and not others[0].is_alike
