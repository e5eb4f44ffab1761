"""Accuracy of an encoder beside that of the same encoder untrained and of handcrafted features, on the images shown."""

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from byol.assembly.subject import open_subject, subject_of
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder
from byol.errors import EncoderError
from byol.evaluate.features import extract
from byol.evaluate.knn import leave_one_out
from byol.evaluate.protocols.options import HOG
from byol.evaluate.scores import Score, accuracy, paired_difference
from byol.report.look import Sample

FEWEST_IMAGES, MOST_IMAGES = 50, 500
"""Smallest and largest number of images to compare on."""
MOST_SECONDS = 30.0
"""Largest time of the comparison in seconds."""
TRAINED, UNTRAINED, HANDCRAFTED = "this encoder", "the same encoder, untrained", "gradients and colours alone (hog)"


@dataclass(frozen=True)
class Comparison:
    """Accuracies by nearest neighbours on the same images, each image left out once."""

    scores: dict[str, Score]
    """Accuracy by name of the features; the trained encoder is first."""
    gains: dict[str, Score]
    """Accuracy of the trained encoder minus that of each baseline, in points, with the paired interval."""
    num_images: int
    num_classes: int

    @property
    def is_ahead(self) -> bool:
        """Whether the trained encoder is measurably ahead of every baseline."""
        return all(gain.low > 0 for gain in self.gains.values())

    @property
    def sentence(self) -> str:
        """Words on the trained encoder beside each baseline."""
        parts = [
            f"{_against(gain)} {name} ({gain.low:+.1f} to {gain.high:+.1f} points)" for name, gain in self.gains.items()
        ]
        return f"{TRAINED.capitalize()} is {' and '.join(parts)}."


def compare(
    encoder: Encoder, sample: Sample, vectors: Tensor, device: torch.device, seconds: float, rate: float, seed: int
) -> Comparison | None:
    """The comparison on as many of the sample's images as fit into `seconds`; None without labels or with too few images.

    `vectors`: (N, D) of the sample by `encoder`. `rate`: embedded images per second. `seed`: seed of the untrained weights.
    """
    most = int(rate * min(seconds, MOST_SECONDS) / 2)  # two baselines
    count = min(MOST_IMAGES, len(vectors), most)
    if sample.labels is None or count < FEWEST_IMAGES:
        return None
    classes, labels = sample.labels[:count].unique(return_inverse=True)
    if len(classes) < 2:
        return None
    images = Subset(sample.source, sample.indices[:count], sample.source.description)

    def is_correct(found: Tensor) -> Tensor:
        return leave_one_out(functional.normalize(found, dim=1), labels) == labels

    correct = {TRAINED: is_correct(vectors[:count])}
    for name, baseline in _baselines(encoder, images, seed).items():
        correct[name] = is_correct(
            extract(baseline.to(device), images, baseline.description.in_channels, device).vectors
        )
    trained = correct[TRAINED]
    gains = {name: paired_difference(trained, other) for name, other in correct.items() if name != TRAINED}
    return Comparison({name: accuracy(found) for name, found in correct.items()}, gains, count, len(classes))


def _baselines(encoder: Encoder, images: Subset, seed: int) -> dict[str, Encoder]:
    """The baselines that exist: a module of the user's own cannot be built anew, and hog needs at most four channels."""
    baselines: dict[str, Encoder] = {}
    with contextlib.suppress(EncoderError):
        baselines[UNTRAINED] = Encoder(subject_of("", encoder).untrained(seed), encoder.description)
    with contextlib.suppress(EncoderError):
        baselines[HANDCRAFTED] = open_subject(HOG, images).encoder
    return baselines


def _against(gain: Score) -> str:
    return "ahead of" if gain.low > 0 else "behind" if gain.high < 0 else "not measurably different from"
