"""Spurious correlations: properties of a file or picture that predict its class without looking at what it shows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

import numpy as np
import torch
from numpy.typing import NDArray

from byol.data.subset import held_out
from byol.evaluate.metrics import mean_per_class
from byol.evaluate.scores import Score

BINS = 10
"""Number of equally filled ranges into which the values of a property are divided."""
TELLING = 10.0
"""Points above guessing from which a property is called telling, by the lower end of the interval."""


@dataclass(frozen=True)
class Shortcut:
    """How well one property predicts the class."""

    name: str
    accuracy: Score
    """Accuracy in percent, mean over the classes, on images that the rule was not made from, with its 95 % interval."""
    guessing: float
    """Accuracy of guessing in percent: 100 divided by the number of classes."""
    examples: tuple[tuple[str, int, float], ...]
    """(value or range in words, class, percentage of the images with it that have the class) of the most telling values."""

    @property
    def is_telling(self) -> bool:
        """Whether it predicts the class clearly better than guessing."""
        return self.accuracy.low > self.guessing + TELLING


def shortcuts(
    properties: Mapping[str, NDArray[np.float64] | Sequence[str]], labels: NDArray[np.int64]
) -> list[Shortcut]:
    """The predictive value of each of the properties, (N,) numbers (NaN: unknown) or texts, for (N,) labels; best first.

    A rule gives each value, or each of `BINS` ranges, the class that is over-represented most in it. It is made from one half of the images and counted on the
    other, both ways. Properties that are the same for all images are left out. Labels are 0 to C - 1; each class has two images or more.
    """
    halves = held_out(labels, 0.5, seed=0)
    found = []
    for name, values in properties.items():
        codes, words = _codes(values)
        if len(words) < 2:
            continue
        predicted = np.empty_like(labels)
        for fitted, out in (halves, halves[::-1]):
            predicted[out] = _weights(codes[fitted], labels[fitted], len(words), labels.max() + 1).argmax(axis=1)[
                codes[out]
            ]
        score = mean_per_class(torch.from_numpy(predicted == labels), torch.from_numpy(labels))
        guessing = 100 / len(np.unique(labels))
        found.append(Shortcut(name, score, guessing, _examples(codes, words, labels)))
    return sorted(found, key=lambda each: each.accuracy.value, reverse=True)


def name_pattern(name: str) -> str:
    """The file's name without folder and ending, each number in it as one 0: `IMG_0123.jpg` becomes `IMG_0`."""
    return re.sub(r"\d+", "0", PurePath(name).stem)


def _codes(values: NDArray[np.float64] | Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """((N,) number of the value or range of each image, the values or ranges in words)."""
    if not isinstance(values, np.ndarray):
        words, codes = np.unique(np.asarray(values, dtype=object), return_inverse=True)
        return codes, words.tolist()
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(len(values), np.int64), ["unknown"]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    edges = edges[edges > known.min()]
    codes = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
    limits = [known.min(), *edges, known.max()]
    words = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(limits)]
    return codes.astype(np.int64), [*words, "unknown"] if np.isnan(values).any() else words


def _weights(
    codes: NDArray[np.int64], labels: NDArray[np.int64], num_values: int, num_classes: int
) -> NDArray[np.float64]:
    """(values, classes) share of each class's images that have the value: the most likely class if all had equal size."""
    counts = np.zeros((num_values, num_classes))
    np.add.at(counts, (codes, labels), 1)
    return counts / np.maximum(counts.sum(axis=0), 1)


def _examples(
    codes: NDArray[np.int64], words: list[str], labels: NDArray[np.int64]
) -> tuple[tuple[str, int, float], ...]:
    counts = np.zeros((len(words), labels.max() + 1))
    np.add.at(counts, (codes, labels), 1)
    surplus = counts - counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / len(labels)
    seen = np.flatnonzero(counts.sum(axis=1))
    best = seen[np.argsort(-surplus[seen].max(axis=1), kind="stable")[:3]]
    return tuple(
        (words[row], int(surplus[row].argmax()), float(100 * counts[row, surplus[row].argmax()] / counts[row].sum()))
        for row in best
    )
