"""Depths of cells and pixels: sums, errors against their definitions, and ridge regression against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from byol.errors import DataError
from byol.evaluate.depth import METRICS, Moments, cell_depths, depth_scores, predict_depth, sum_errors


def test_cells_have_the_mean_log_depth_of_their_known_pixels() -> None:
    depth = np.array([[1, 1, 2, 0], [4, 1, 2, 0], [0, 0, 8, 2]], np.float32)
    logs, counts = cell_depths(depth, 3, 2)
    assert counts.tolist() == [2, 1, 2, 1, 0, 2]
    assert np.allclose(logs.exp().tolist(), [1, 2, 2, 2, 1, 4])


def test_scores_are_the_definitions_over_all_known_pixels() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(0.5, 9, (6, 20, 30)).astype(np.float32)
    truth[:, :3] = 0
    found = (generator.uniform(0.4, 2.5, truth.shape) * np.maximum(truth, 1)).astype(np.float32)
    scores = depth_scores(np.stack([sum_errors(*pair) for pair in zip(found, truth, strict=True)]))
    d, t = found[truth > 0].astype(float), truth[truth > 0].astype(float)
    ratio = np.maximum(d / t, t / d)
    expected = [100 * (ratio < 1.25**k).mean() for k in (1, 2, 3)]
    expected += [100 * (abs(d - t) / t).mean(), 100 * np.sqrt(((d - t) ** 2).mean())]
    assert list(scores) == list(METRICS)
    assert np.allclose([score.value for score in scores.values()], expected)
    assert all(score.low <= score.value <= score.high and score.low < score.high for score in scores.values())


def test_right_depths_have_no_error_and_unknown_ones_are_refused() -> None:
    depth = np.full((4, 5), 3, np.float32)
    scores = depth_scores(np.stack([sum_errors(depth, depth)] * 3))
    assert [score.value for score in scores.values()] == [100, 100, 100, 0, 0]
    with pytest.raises(DataError, match="test images hold no known pixel"):
        depth_scores(np.zeros((3, 6)))


@pytest.mark.parametrize("strength", [1e-4, 0.1, 10.0])
def test_ridge_equals_scikit_learns_and_adds_up_over_parts(strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 7, generator=generator) * torch.arange(1, 8) + 3
    logs = (features[:, 0] / 5 + torch.randn(200, generator=generator)).double()
    weights = torch.randint(1, 9, (200,), generator=generator).double()
    parts = [Moments.empty(7), Moments.empty(7)]
    for part, rows in zip(parts, (slice(0, 80), slice(80, 200)), strict=True):
        part.add(features[rows], logs[rows], weights[rows])
    (found,) = parts[0].plus(parts[1]).ridge((strength,))
    mean = (features.double() * weights[:, None]).sum(dim=0) / weights.sum()
    variance = float((((features - mean) ** 2) * weights[:, None]).sum(dim=0).mean() / weights.sum())
    expected = SklearnRidge(alpha=strength * variance * float(weights.sum())).fit(
        features.double(), logs, weights.numpy()
    )
    assert np.allclose(found.weight, expected.coef_, atol=1e-5) and np.isclose(found.bias, expected.intercept_, atol=1e-4)  # fmt: skip
    predicted = found.logs(features * 100)
    assert float(predicted.max()) <= float(logs.max()) + 1e-5 and float(predicted.min()) >= float(logs.min()) - 1e-5


def test_pixels_are_interpolated_in_the_logarithm() -> None:
    depth = predict_depth(torch.tensor([[0.0, 2.0]]), 2, 4)
    assert np.allclose(np.log(depth[0]), [0, 0.5, 1.5, 2], atol=1e-5) and (depth[0] == depth[1]).all()
