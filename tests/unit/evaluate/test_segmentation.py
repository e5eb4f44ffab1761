"""Measures of segmentation against hand values, a slow loop and scikit-learn; labels of cells."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from byol.errors import DataError
from byol.evaluate.linear import soft_cross_entropy
from byol.evaluate.segmentation import cell_labels, class_ious, count_pixels, predict_pixels, segmentation_scores


def test_counts_and_ious_by_hand() -> None:
    mask = np.array([[0, 0, 1], [1, 255, 1]], np.uint8)
    predicted = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    counts = count_pixels(predicted, mask, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [1, 3, 1, 0], [2, 3, 0, 0]]
    ious = class_ious(counts)
    assert ious[:2].tolist() == [1 / 2, 2 / 4] and np.isnan(ious[2:]).all()


def test_scores_equal_scikit_learns_over_all_pixels() -> None:
    generator = np.random.default_rng(0)
    masks = generator.integers(0, 4, (6, 20, 30)).astype(np.uint8)
    guesses = np.where(generator.random(masks.shape) < 0.6, masks, generator.integers(0, 4, masks.shape)).astype(
        np.uint8
    )
    masks[:, :2] = 255
    counts = np.stack([count_pixels(guess, mask, 4) for guess, mask in zip(guesses, masks, strict=True)])
    scores = segmentation_scores(counts[None], ["a", "b", "c", "d"])
    known = masks != 255
    expected = jaccard_score(masks[known], guesses[known], average=None)
    assert np.allclose([scores[f"IoU {name}"].value for name in "abcd"], 100 * expected)
    assert np.isclose(scores["mIoU"].value, 100 * expected.mean())
    assert np.isclose(scores["pixel accuracy"].value, 100 * (masks == guesses)[known].mean())
    for score in scores.values():
        assert score.low < score.value < score.high


def test_interval_covers_the_mean_of_equal_images_only_at_their_value() -> None:
    """Equal images have no spread; images that are right or wrong as a whole have."""
    right, wrong = np.array([[4, 4], [4, 4], [4, 4]]), np.array([[0, 0], [4, 4], [4, 4]])
    alike = segmentation_scores(np.stack([right] * 5)[None], ["a", "b"])["mIoU"]
    mixed = segmentation_scores(np.stack([right, wrong] * 20)[None], ["a", "b"])["mIoU"]
    assert (alike.low, alike.value, alike.high) == (100, 100, 100)
    assert np.isclose(mixed.value, 100 * 80 / 240) and 10 < mixed.high - mixed.low < 40


def test_class_that_no_mask_holds_is_left_out() -> None:
    counts = np.array([[[5, 0, 0], [5, 0, 1], [6, 0, 0]]])
    scores = segmentation_scores(counts[None], ["a", "b", "c"])
    with pytest.raises(DataError, match="no labelled pixel"):
        segmentation_scores(np.zeros((1, 2, 3, 3), np.int64), ["a", "b", "c"])
    assert list(scores) == ["mIoU", "pixel accuracy", "IoU a"] and np.isclose(scores["mIoU"].value, 100 * 5 / 6)


def test_labels_of_cells_count_their_pixels() -> None:
    mask = np.array([[0, 0, 1, 1], [0, 2, 1, 255], [2, 2, 2, 2]], np.uint8)
    counts = cell_labels(mask, 2, 2, 3)
    assert counts.tolist() == [[3, 0, 1], [0, 3, 0], [0, 0, 2], [0, 0, 2]]
    generator = np.random.default_rng(1)
    large = generator.integers(0, 3, (37, 53)).astype(np.uint8)
    slow = np.zeros((5 * 7, 3))
    for y, x in np.ndindex(large.shape):
        slow[(y * 5 // 37) * 7 + x * 7 // 53, large[y, x]] += 1
    assert (cell_labels(large, 5, 7, 3).numpy() == slow).all()


def test_predicted_pixels_lie_where_their_cells_do() -> None:
    scores = torch.zeros(2, 2, 3)
    scores[1, 0, 2] = 1  # the upper right cell
    predicted = predict_pixels(scores + torch.tensor([0.5, 0.0]).view(2, 1, 1), 40, 60)
    rows, columns = predicted.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 19, 40, 59)
    scores = torch.randn(5, 4, 7, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(scores[None], (33, 50), mode="bilinear")[0]
    assert (predict_pixels(scores, 33, 50) == large.argmax(dim=0).numpy()).mean() > 0.999


def test_soft_cross_entropy_is_that_of_every_pixel_and_its_gradient() -> None:
    labels = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pixels = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 2, 2])
    expected = torch.nn.functional.cross_entropy(logits.T[pixels[0]], pixels[1])
    (gradient,) = torch.autograd.grad(expected, logits)
    value, residual = soft_cross_entropy(labels)(logits.detach())
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(residual / 2, gradient)
