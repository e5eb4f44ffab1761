"""The guard of a training from given weights: is one of its encoders better than the start?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from byol.data.subset import Subset, held_out
from byol.evaluate.knn import leave_one_out
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import Score, accuracy, paired_difference

Verdict = Literal["better", "no better", "cannot tell"]
MOST_LOST, LEAST_RANK = 0.08, 0.7
"""Largest fall of `recognised`, from 0 to 1, and smallest ratio of `rankme` to the start's, with which an encoder does not look harmed (docs/adapt.md)."""
ERRORS = "Such a fall told 4 of 5 harmful trainings, with no false alarm in 14 (docs/trials.md)"
"""Error rate of the measures without labels, in words for the user (benchmarks/adaptations.py)."""
MOST_LABELLED = 2000
"""Largest number of labelled images that are measured."""


@dataclass(frozen=True)
class Measured:
    """An encoder of the training, or its start, and its measures."""

    name: str
    step: int
    correct: dict[str, Tensor] = field(default_factory=dict, repr=False)
    """Whether each labelled image's class was predicted, (N,) bool by probe (kNN, linear); empty without labels."""
    without_labels: dict[str, float] = field(default_factory=dict)
    """Measures that need no labels, by name."""

    @property
    def scores(self) -> dict[str, Score]:
        """Accuracy by probe, in percent."""
        return {probe: accuracy(correct) for probe, correct in self.correct.items()}

    def entries(self) -> dict[str, Any]:
        """The measures as a record of plain numbers."""
        scores = {probe: asdict(score) for probe, score in self.scores.items()}
        return {"name": self.name, "step": self.step, **scores, **self.without_labels}


@dataclass(frozen=True)
class Decision:
    """The guard's decision."""

    verdict: Verdict
    kept: Measured
    best: Measured
    """The encoder of the training that looked best, even if the start is kept."""
    gain: Score | None
    """Accuracy of `best` minus that of the start, in points; None without labels."""
    words: str
    """The numbers that decided, in one sentence."""

    @property
    def headline(self) -> str:
        """The verdict for the user."""
        return "better" if self.verdict == "better" else f"{self.verdict}: the start is kept"


def label_correct(vectors: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Whether the class of each of (N, D) vectors is predicted from the others: (N,) bool by probe.

    knn leaves one image out at a time, linear a half. Labels are 0 to C - 1; each class has two images or more.
    """
    predicted = torch.empty_like(labels)
    halves = held_out(labels.numpy(), 0.5, seed=0)
    for fitted, out in (halves, halves[::-1]):
        predicted[out] = fit_linear(vectors[fitted], labels[fitted]).predict(vectors[out])
    return {"knn": leave_one_out(vectors, labels) == labels, "linear": predicted == labels}


def decide(start: Measured, milestones: Sequence[Measured], seed: int = 0) -> Decision:
    """The decision by labels if the encoders were measured with them, else by the measures that need none."""
    if not milestones:
        return Decision("no better", start, start, None, "the training failed")
    return decide_by_labels(start, milestones, seed) if start.correct else decide_without_labels(start, milestones)


def looks_harmed(start: Mapping[str, float], trained: Mapping[str, float]) -> bool:
    """Whether measures without labels say that a training made the encoder worse: views of an image are no longer recognised, or the rank has fallen."""
    return trained["recognised"] < start["recognised"] - MOST_LOST or trained["rankme"] < LEAST_RANK * start["rankme"]


def decide_without_labels(start: Measured, milestones: Sequence[Measured]) -> Decision:
    """The decision by measures that need no labels: they tell harm, and never gain, so that the start is kept.

    The verdict is "no better" if every encoder of the training looks harmed, else "cannot tell"; `best` is the last one that does not.
    """
    before = start.without_labels
    sound = [each for each in milestones if not looks_harmed(before, each.without_labels)]
    best = (sound or milestones)[-1]
    after = best.without_labels
    numbers = (
        f"{best.name} recognises {100 * after['recognised']:.0f} % of second views and has rank {after['rankme']:.0f} "
        f"(RankMe); the start {100 * before['recognised']:.0f} %, {before['rankme']:.0f}"
    )
    if not sound:
        return Decision("no better", start, best, None, f"{numbers}. {ERRORS}")
    return Decision("cannot tell", start, best, None, f"{numbers}. {ERRORS}; only labels tell gain (--labelled)")


def decide_by_labels(start: Measured, milestones: Sequence[Measured], seed: int = 0) -> Decision:
    """The decision by kNN and linear accuracy: one half of the labelled images chooses, the other half judges.

    The verdict is "better" if the interval of the paired difference is above 0 on the images that did not choose.
    """
    count = len(next(iter(start.correct.values())))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    choosing, judging = order[: count // 2], order[count // 2 :]
    best = max(milestones, key=lambda each: float(_mean(each)[choosing].mean()))
    is_ahead = float(_mean(best)[choosing].mean()) > float(_mean(start)[choosing].mean())
    gain = paired_difference(_mean(best)[judging], _mean(start)[judging])
    verdict: Verdict = "cannot tell"
    if gain.low > 0 and is_ahead:
        verdict = "better"
    elif gain.high < 0 or not is_ahead:
        verdict = "no better"
    numbers = (
        f"{best.name} has kNN {best.scores['knn']} %, linear {best.scores['linear']} %; the start {start.scores['knn']} %, "
        f"{start.scores['linear']} %; their mean {gain.value:+.1f} points [{gain.low:+.1f}, {gain.high:+.1f}] on {len(judging):,} "
        "labelled images that chose nothing"
    )
    return Decision(verdict, best if verdict == "better" else start, best, gain, numbers)


def _mean(measured: Measured) -> Tensor:
    """Mean correctness over the probes, (N,) in [0, 1]."""
    return torch.stack([correct.float() for correct in measured.correct.values()]).mean(dim=0)


def sample_of_labelled(source: Subset, seed: int = 0) -> Subset:
    """At most `MOST_LABELLED` of the labelled images, at random."""
    if len(source) <= MOST_LABELLED:
        return source
    chosen = np.sort(np.random.default_rng(seed).permutation(len(source))[:MOST_LABELLED])
    return Subset(source, chosen, source.description)
