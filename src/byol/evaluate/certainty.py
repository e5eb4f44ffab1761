"""Certainty of a classifier: the probability above which a class is named, and the error that is then to be expected."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.evaluate.head import HeldOut
from byol.evaluate.scores import Score, wilson

NAMED_AT_LEAST = 0.5
"""Smallest threshold where images have several labels: below it a label is less probable than its absence."""

FEWEST_IN_BIN = 20
"""Mean number of independent guesses in a bin: chance alone gives emptier ones a calibration error of more than 10 points."""


@dataclass(frozen=True)
class Certainty:
    """A threshold, and what a classifier with it does in cross-validation."""

    threshold: float
    """Probability above which a class is named; 1 names none."""
    named: float
    """Percentage of the images that get a class; with several labels, of the labels that are found."""
    wrong: Score | None
    """Percentage of the named classes that are wrong, with its interval; None if none is named."""


@dataclass(frozen=True)
class Guesses:
    """Guesses for held-out images, each with its probability."""

    probability: Tensor
    """(G,) probability of each guess."""
    correct: Tensor
    """(G,) bool."""
    repeats: float
    """Mean number of guesses for the same thing, which count once for intervals."""
    labels: int | None = None
    """Number of labels that the images have, if they may have several."""

    @property
    def bins(self) -> int:
        """Number of bins for a calibration error: 15, and fewer where one would have less than `FEWEST_IN_BIN` things."""
        return max(1, min(15, int(len(self.correct) / self.repeats / FEWEST_IN_BIN)))


def guesses(held_out: HeldOut, *, calibrated: bool = True) -> Guesses:
    """The most probable class of each held-out image; with several labels, every label that is known to be there or not."""
    found = held_out.probabilities(calibrated=calibrated)
    repeats = len(held_out.rows) / len(held_out.rows.unique())
    if held_out.labels.dim() == 1:
        best, predicted = found.max(dim=1)
        return Guesses(best, predicted == held_out.labels, repeats)
    known = held_out.labels != 0
    return Guesses(found[known], held_out.labels[known] > 0, repeats, int((held_out.labels > 0).sum()))


def choose_threshold(held_out: HeldOut, most_wrong: float) -> Certainty:
    """The lowest threshold at which at most `most_wrong` percent of what is named are expected to be wrong.

    Expected errors of the k most probable guesses: the larger of the wrong ones and of the sum of their improbabilities. The
    wrong ones alone say nothing of few images, the probabilities alone are as good as the calibration.
    """
    seen = guesses(held_out)
    order = seen.probability.argsort(descending=True, stable=True)
    probability = seen.probability[order].double()
    wrong = (~seen.correct[order]).double().cumsum(0)
    expected = torch.maximum(wrong, (1 - probability).cumsum(0)) / torch.arange(1, len(order) + 1)
    last = torch.cat((probability[1:] < probability[:-1], torch.tensor([True])))  # equal ones are named together
    fits = (last & (100 * expected <= most_wrong)).nonzero()
    if not len(fits):
        threshold = 1.0
    elif (place := int(fits[-1])) + 1 == len(probability):
        threshold = 0.0
    else:
        threshold = float(probability[place] + probability[place + 1]) / 2
    if held_out.labels.dim() == 2:
        threshold = max(threshold, NAMED_AT_LEAST)
    return certainty(seen, threshold)


def certainty(seen: Guesses, threshold: float) -> Certainty:
    """Named and wrong guesses at a threshold."""
    named = seen.probability > threshold
    count = int(named.sum())
    right = int((named & seen.correct).sum())
    share = count / len(named) if seen.labels is None else right / max(seen.labels, 1)
    wrong = wilson(1 - right / count, count / seen.repeats) if count else None
    return Certainty(threshold, 100 * share, wrong)
