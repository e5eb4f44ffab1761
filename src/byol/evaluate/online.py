"""kNN and linear accuracy of the encoder while it trains; they touch neither weights, averages nor chance."""

from dataclasses import dataclass

import torch
from torch import nn

from byol.data.source import ImageSource
from byol.data.subset import Subset, held_out, per_class
from byol.errors import ConfigError
from byol.evaluate.features import extract, labels_of
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear
from byol.export.encoder_file import Encoder, EncoderDescription

NUM_IMAGES, QUERY_SHARE = 5000, 0.2
NEIGHBOURS, TEMPERATURE = 20, 0.1


@dataclass(frozen=True)
class OnlineProbe:
    """Looks at up to 5,000 labelled training images; a fifth of them ask, the others answer. No test image is seen."""

    bank: ImageSource
    queries: ImageSource
    description: EncoderDescription
    device: torch.device

    @classmethod
    def create(cls, source: ImageSource, description: EncoderDescription, device: torch.device) -> "OnlineProbe":
        """Raises ConfigError where there are no labels, or one class alone."""
        if source.labels is None or len(set(source.labels.tolist())) < 2:
            raise ConfigError(
                f"online_probe_epochs needs labels of at least two classes; {source.description} has none. Set it to 0."
            )
        count = max(2, NUM_IMAGES // len(set(source.labels.tolist())))
        chosen = per_class(source.labels, count, seed=0)
        kept, out = held_out(source.labels[chosen], QUERY_SHARE, seed=0)
        bank, queries = (Subset(source, chosen[part], source.description) for part in (kept, out))
        return cls(bank, queries, description, device)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """`online_knn` and `online_linear` in percent; the encoder is left in the mode it came in."""
        was_training = encoder.training
        try:
            encode = Encoder(encoder, self.description).to(self.device)
            channels = self.description.in_channels
            bank, queries = (extract(encode, part, channels, self.device) for part in (self.bank, self.queries))
        finally:
            encoder.train(was_training)
        labels, truth = labels_of(bank), labels_of(queries)
        guesses = {
            "online_knn": knn_predict(bank.vectors, labels, queries.vectors, k=NEIGHBOURS, temperature=TEMPERATURE),
            "online_linear": fit_linear(bank.vectors, labels).predict(queries.vectors),
        }
        return {name: 100 * float((guess == truth).float().mean()) for name, guess in guesses.items()}
