"""Accuracies with 95 % intervals."""

import math
from dataclasses import dataclass

from torch import Tensor

Z = 1.959964
"""97.5 % point of the normal distribution."""
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % points of Student's t distribution by degrees of freedom."""


@dataclass(frozen=True)
class Score:
    """A value in percent with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def accuracy(correct: Tensor) -> Score:
    """Accuracy, the percentage of true values in (N,) bool `correct`, with Wilson's interval."""
    return wilson(float(correct.float().mean()), len(correct))


def wilson(share: float, count: float) -> Score:
    """The percentage `share`, from 0 to 1, of `count` independent cases, with Wilson's interval."""
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Score(100 * share, 100 * (centre - half), 100 * (centre + half))


def paired_difference(correct: Tensor, baseline: Tensor) -> Score:
    """Accuracy of `correct` minus that of `baseline`, (N,) bool on the same images, with the paired normal interval."""
    difference = correct.float() - baseline.float()
    mean, half = float(difference.mean()), Z * float(difference.std()) / math.sqrt(len(difference))
    return Score(100 * mean, 100 * (mean - half), 100 * (mean + half))


def mean_over_runs(values: list[float]) -> Score:
    """Mean over 2 to 10 runs, of values in percent, with Student's interval."""
    count = len(values)
    mean = sum(values) / count
    variance = sum((v - mean) ** 2 for v in values) / (count - 1)
    half = T_975[count - 1] * math.sqrt(variance / count)
    return Score(mean, mean - half, mean + half)
