"""What every evaluation protocol gets and gives: a protocol is one file with one function, Job -> Outcome."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import held_out
from byol.encoder.encoder import Encoder
from byol.errors import DataError
from byol.evaluate.features import Features
from byol.evaluate.protocols.options import Budget, ProtocolOptions
from byol.evaluate.scores import Score
from byol.runtime.listener import Listener
from byol.views.policy import ViewPolicy

TRAINING_IMAGES = {"paper": 0, "default": 10_000, "smoke": 400}
"""How many training images a protocol that trains may use; 0: all."""


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
    """Labelled, as is `test`; both have the same classes."""
    test: ImageSource
    budget: Budget
    options: ProtocolOptions
    seed: int
    device: torch.device
    features: Callable[[Literal["train", "test"]], Features]
    """Features of all images of a part without augmentation; computed once for all protocols of a call."""
    listener: Listener
    """Progress: (what is being done, done, total)."""
    pretraining_view: ViewPolicy | None
    """The distribution T of the pretraining, where it is known."""
    semantics: Literal["deepmind", "torchvision"]
    workers: int
    skipped: SkippedImages
    validation: NDArray[np.int64] | None = None
    """Which training images are the data set's own validation part; None: each protocol holds some out."""
    label_sets: tuple[Tensor, Tensor] | None = None
    """(N, C) of the training and of the test images where each has several labels: 1, -1, or 0 where unknown."""

    @property
    def num_classes(self) -> int:
        """One more than the highest label."""
        assert self.train.labels is not None
        return int(self.train.labels.max()) + 1

    def held_out(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(kept, validation) indices of training images: the data set's own part, or a share of every class.

        Raises DataError where one of them is empty.
        """
        if self.validation is not None:
            parts = np.setdiff1d(np.arange(len(self.train)), self.validation), self.validation
        else:
            assert self.train.labels is not None
            parts = held_out(self.train.labels, share, self.seed)
        if not all(map(len, parts)):
            raise DataError(
                f"{self.train.description} has {len(parts[0])} images to learn from and {len(parts[1])} to choose settings on; "
                f"both are needed. Give at least two images of a class."
            )
        return parts

    def differs(self, *notes: str) -> str:
        """`Outcome.differs`: the notes, and that of a budget other than the paper's."""
        if self.budget != "paper":
            notes = (f"budget {self.budget}", *notes)
        return f"not the paper's protocol: {'; '.join(notes)}" if notes else ""


@dataclass(frozen=True)
class Outcome:
    """What a protocol found."""

    metrics: dict[str, Score]
    """In percent; the first one is the protocol's own."""
    settings: dict[str, Any]
    """Every setting that led to it, those chosen on validation images among them."""
    differs: str = ""
    """How this differs from the paper's protocol; empty where it does not."""
    caution: str = ""
    """A reason to doubt the numbers, told with them; empty where there is none."""
    variant: str = ""
    """What tells it from another run of the protocol, for the file's name."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping, ready for JSON (the validation accuracy of every cell of a grid, ...)."""


Protocol = Callable[[Job], Outcome]
