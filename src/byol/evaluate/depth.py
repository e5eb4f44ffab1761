"""Depths from maps: labels of cells, predictions at the size of the image, and the errors of the paper's Table 12."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.errors import DataError
from byol.evaluate.metrics import RESAMPLES
from byol.evaluate.scores import Score
from byol.evaluate.segmentation import interpolate_cells

THRESHOLD = 1.25
METRICS = ("delta < 1.25", "delta < 1.25^2", "delta < 1.25^3", "rel", "rms, cm")
"""Names: shares of pixels whose ratio to the truth, or its inverse, is below the threshold, and mean relative error, in percent;
root of the mean squared error, in centimetres."""


def cell_depths(depth: NDArray[np.float32], rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """((rows * columns,) mean log depth, (rows * columns,) number of known pixels) of the cells of an (H, W) depth, float64."""
    down, across = (np.arange(side) * cells // side for side, cells in zip(depth.shape, (rows, columns), strict=True))
    known = depth > 0
    places = (down[:, None] * columns + across)[known]
    counts = np.bincount(places, minlength=rows * columns)
    sums = np.bincount(places, np.log(depth[known].astype(np.float64)), rows * columns)
    return torch.from_numpy(sums / np.maximum(counts, 1)), torch.from_numpy(counts.astype(np.float64))


def predict_depth(logs: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """(height, width) depth in metres by the log depths (h, w) of the cells, interpolated linearly."""
    return np.exp(interpolate_cells(logs[None], height, width)[0].numpy())


def sum_errors(predicted: NDArray[np.float32], depth: NDArray[np.float32]) -> NDArray[np.float64]:
    """(6,) sums over the known pixels: those with a ratio below 1.25, 1.25^2, 1.25^3, relative error, squared error in m^2, and their number."""
    known = depth > 0
    found, truth = predicted[known].astype(np.float64), depth[known].astype(np.float64)
    ratio = np.maximum(found / truth, truth / found)
    shares = [(ratio < THRESHOLD**power).sum() for power in (1, 2, 3)]
    return np.array([*shares, (np.abs(found - truth) / truth).sum(), np.square(found - truth).sum(), known.sum()])


def depth_errors(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 5) values of `METRICS` from (..., 6) sums of `sum_errors`; NaN without a known pixel."""
    with np.errstate(invalid="ignore"):
        means = sums[..., :5] / sums[..., 5:]
        return np.concatenate((100 * means[..., :4], 100 * np.sqrt(means[..., 4:])), axis=-1)


def depth_scores(sums: NDArray[np.float64], seed: int = 0) -> dict[str, Score]:
    """`METRICS` over all known pixels of the test images, with 95 % intervals by bootstrap over images, from (N, 6) sums.

    Raises DataError if no pixel is known.
    """
    if not sums[:, 5].sum():
        raise DataError("The depths of the test images hold no known pixel: every one is 0, negative or not finite.")
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    low, high = np.nanquantile(depth_errors(weights @ sums), (0.025, 0.975), axis=0)
    values = depth_errors(sums.sum(axis=0))
    return {name: Score(*map(float, score)) for name, *score in zip(METRICS, values, low, high, strict=True)}


@dataclass
class Moments:
    """Weighted sums of cells' features and log depths, all that least squares needs; they add up over images."""

    products: Tensor
    """(D + 2, D + 2) float64: sum of weight * (features, 1, log depth) with itself."""
    highest: float = -np.inf
    lowest: float = np.inf
    """Range of the cells' log depths."""

    @classmethod
    def empty(cls, depth: int) -> "Moments":
        return cls(torch.zeros(depth + 2, depth + 2, dtype=torch.float64))

    def add(self, features: Tensor, logs: Tensor, weights: Tensor) -> None:
        """Adds (M, D) features of cells with (M,) log depths and (M,) weights above 0."""
        rows = torch.cat((features.double(), torch.ones(len(logs), 1, dtype=torch.float64), logs[:, None]), dim=1)
        self.products += (rows * weights[:, None]).T @ rows
        self.lowest, self.highest = min(self.lowest, float(logs.min())), max(self.highest, float(logs.max()))

    def plus(self, other: "Moments") -> "Moments":
        """The sums of both."""
        return Moments(self.products + other.products, max(self.highest, other.highest), min(self.lowest, other.lowest))

    def ridge(self, strengths: tuple[float, ...]) -> list["Ridge"]:
        """For each strength the weights that minimise the mean squared error of log depth + strength * v * |w|^2.

        v is the features' mean variance, so that a strength means the same for every encoder; the bias is not punished.
        """
        width = len(self.products) - 2
        mean = self.products[width] / self.products[width, width]
        centred = self.products / self.products[width, width] - mean[:, None] * mean
        spread, basis = torch.linalg.eigh(centred[:width, :width])
        spread, along = spread.clamp_min(0), basis.T @ centred[:width, -1]
        variance = float(spread.mean().clamp_min(1e-30))
        found = []
        for strength in strengths:
            weight = basis @ (along / (spread + strength * variance))
            bias = float(mean[-1] - mean[:width] @ weight)
            found.append(Ridge(weight.float(), bias, self.lowest, self.highest))
        return found


@dataclass(frozen=True)
class Ridge:
    """A linear function of a cell's features that gives its log depth, cut to the range of the training cells."""

    weight: Tensor
    """(D,)."""
    bias: float
    lowest: float
    highest: float

    def logs(self, features: Tensor) -> Tensor:
        """(M,) log depths of (M, D) features."""
        return (features @ self.weight + self.bias).clamp(self.lowest, self.highest)
