"""The online probe: kNN and linear accuracy of the encoder during training.

It changes neither weights, batch-norm averages nor random number generators.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from byol.data.source import ImageSource
from byol.data.subset import Subset, held_out, per_class
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import ConfigError
from byol.evaluate.features import extract, labels_of
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear

NUM_IMAGES, QUERY_SHARE = 5000, 0.2
"""Largest number of images in the probe, and the fraction of them that are queries."""
FEWEST_PER_CLASS = 3
"""Smallest number of images per class: a query, an image in the bank, and one to choose the linear probe's strength on."""


@dataclass(frozen=True)
class OnlineProbe:
    """Probe on up to 5,000 labelled training images; a fifth are queries, the others are the bank. It uses no test image."""

    bank: ImageSource
    queries: ImageSource
    description: EncoderDescription
    device: torch.device

    @classmethod
    def create(cls, source: ImageSource, description: EncoderDescription, device: torch.device) -> "OnlineProbe":
        """Probe on images of `source`. Raises ConfigError for fewer than two classes or no class with three images."""
        sizes = np.unique([] if source.labels is None else source.labels, return_counts=True)[1]
        if source.labels is None or len(sizes) < 2:
            raise ConfigError(
                f"online_probe_epochs needs labels of at least two classes; {source.description} has none. Set it to 0."
            )
        if sizes.max() < FEWEST_PER_CLASS:
            raise ConfigError(
                f"online_probe_epochs needs a class with at least {FEWEST_PER_CLASS} images; the largest of the {len(sizes)} "
                f"classes of {source.description} has {sizes.max()}. Set it to 0."
            )
        indices = per_class(source.labels, max(FEWEST_PER_CLASS, NUM_IMAGES // len(sizes)), seed=0)
        parts = held_out(source.labels[indices], QUERY_SHARE, seed=0)
        bank, queries = (Subset(source, indices[part], source.description) for part in parts)
        return cls(bank, queries, description, device)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """Accuracies `online_knn` and `online_linear`, in percent. The encoder keeps its train or eval mode."""
        was_training = encoder.training
        try:
            encode = Encoder(encoder, self.description).to(self.device)
            channels = self.description.in_channels
            bank, queries = (extract(encode, part, channels, self.device) for part in (self.bank, self.queries))
        finally:
            encoder.train(was_training)
        both = torch.cat((labels_of(bank), labels_of(queries)))
        labels, truth = both.unique(return_inverse=True)[1].split((len(bank.vectors), len(queries.vectors)))
        guesses = {
            "online_knn": knn_predict(bank.vectors, labels, queries.vectors),
            "online_linear": fit_linear(bank.vectors, labels).predict(queries.vectors),
        }
        return {name: 100 * float((guess == truth).float().mean()) for name, guess in guesses.items()}
