"""The interface of evaluation protocols: each is a function from a Job to an Outcome."""

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
"""Largest number of training images for protocols that train, by budget; 0: all images."""


@dataclass(frozen=True)
class Job:
    """Input of a protocol: an encoder, labelled images and a budget."""

    encoder: Encoder
    """Frozen encoder in eval mode, with its preprocessing."""
    trainable: Callable[[], nn.Module]
    """Function that copies the encoder's module for fine-tuning: normalised (N, C, S, S) views -> (N, num_features)."""
    untrained: Callable[[int], nn.Module]
    """Function from a seed to a module of the same architecture with random weights."""
    train: ImageSource
    """Labelled training images."""
    test: ImageSource
    """Labelled test images of the same classes, used for the final result alone and never to choose a setting."""
    budget: Budget
    options: ProtocolOptions
    seed: int
    device: torch.device
    features: Callable[[Literal["train", "test"]], Features]
    """Function that returns the features of all images of a part, without augmentation, computed once for all protocols."""
    listener: Listener
    """Receiver of the progress."""
    pretraining_view: ViewPolicy | None
    """View distribution T of the pretraining; None if unknown."""
    semantics: Literal["deepmind", "torchvision"]
    """Definition of the colour operations, as in the pretraining."""
    workers: int
    """Number of worker processes that decode images."""
    skipped: SkippedImages
    """Collector of images that cannot be decoded."""
    validation: NDArray[np.int64] | None = None
    """Indices of the training images that are the data set's validation part; None: each protocol holds some out."""
    label_sets: tuple[Tensor, Tensor] | None = None
    """(N, C) labels of training and test images if images have several: 1, -1, or 0 (unknown)."""

    leaks: Callable[[], int | None] = lambda: None
    """Function that counts the test images that training images repeat, once; None while the features of a part are not known, or if there are too many images."""

    @property
    def num_classes(self) -> int:
        """Number of classes: one more than the highest label."""
        assert self.train.labels is not None
        return int(self.train.labels.max()) + 1

    def held_out(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(fitted, validation) indices of training images, by the data set's own part or by a fraction `share` of each class.

        Raises DataError if one part is empty.
        """
        if self.validation is not None:
            parts = np.setdiff1d(np.arange(len(self.train)), self.validation), self.validation
        else:
            assert self.train.labels is not None
            parts = held_out(self.train.labels, share, self.seed)
        if not all(map(len, parts)):
            raise DataError(
                f"{self.train.description} has {len(parts[0])} images to train on and {len(parts[1])} to choose settings on; "
                f"both are needed. Give at least two images of a class."
            )
        return parts

    def differs(self, *notes: str) -> str:
        """Text for `Outcome.differs` from the notes, and the budget if it is not the paper's."""
        if self.budget != "paper":
            notes = (f"budget {self.budget}", *notes)
        return f"not the paper's protocol: {'; '.join(notes)}" if notes else ""


@dataclass(frozen=True)
class Outcome:
    """Result of a protocol."""

    metrics: dict[str, Score]
    """Metrics by name, in percent, or in the unit after the comma in the name; the first one is the protocol's main metric."""
    settings: dict[str, Any]
    """All settings of the result, including those chosen on validation images."""
    differs: str = ""
    """Differences from the paper's protocol; empty if there are none."""
    caution: str = ""
    """Warning about the numbers, shown with them; empty if there is none."""
    variant: str = ""
    """Name of the protocol's variant, for the file's name."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Further results, ready for JSON, for example the validation accuracy of every setting in a grid."""


Protocol = Callable[[Job], Outcome]
