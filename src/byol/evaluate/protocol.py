"""What every evaluation protocol gets and gives: a protocol is one file with one function, Job -> Outcome."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from byol.data.source import ImageSource
from byol.evaluate.features import Features
from byol.evaluate.options import Budget, ProtocolOptions
from byol.evaluate.scores import Score
from byol.export.encoder_file import Encoder


@dataclass(frozen=True)
class Job:
    """One encoder, labelled images, and how much may be spent. `test` is for the final number, never for a choice."""

    encoder: Encoder
    """Frozen, in eval mode, with its preprocessing."""
    trainable: Callable[[], nn.Module]
    """A copy of the encoder's module for fine-tuning: normalised (N, C, S, S) views -> (N, num_features)."""
    untrained: Callable[[int], nn.Module]
    """The same architecture with new weights from a seed."""
    train: ImageSource
    test: ImageSource
    budget: Budget
    options: ProtocolOptions
    seed: int
    device: torch.device
    features: Callable[[Literal["train", "test"]], Features]
    """Features of all images of a part without augmentation; computed once for all protocols of a call."""
    show: Callable[[str, int, int], None]
    """Progress: (what is being done, done, total)."""


@dataclass(frozen=True)
class Outcome:
    """What a protocol found."""

    metrics: dict[str, Score]
    """In percent; the first one is the protocol's own."""
    settings: dict[str, Any]
    """Every setting that led to it, those chosen on validation images among them."""
    differs: str = ""
    """How this differs from the paper's protocol; empty where it does not."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping, ready for JSON (the validation accuracy of every cell of a grid, ...)."""


Protocol = Callable[[Job], Outcome]
