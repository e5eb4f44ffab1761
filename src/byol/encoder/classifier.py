"""Classifiers: an encoder with a head that gives calibrated probabilities of named classes, and their folder.

The folder is that of the encoder (`encoder.encoder_file`) with more files: `classifier.json`, which describes the classes,
`head.safetensors`, and `labelled.csv`, the labels that it was fitted to (`data.known_labels`), which exports and earlier ones lack.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import load_encoder, save_encoder, save_tensors
from byol.errors import EncoderError, RunError
from byol.runtime.files import read_json, write_json
from byol.runtime.paths import user_path

CLASSIFIER, HEAD, LABELLED = "classifier.json", "head.safetensors", "labelled.csv"
UNSURE = "unsure"
"""Name in place of a class for images whose most probable class is not probable enough."""


@dataclass(frozen=True)
class ClassifierDescription:
    """The classes of a classifier, and how sure it must be to name one."""

    classes: tuple[str, ...]
    """Name of each class, in the order of the probabilities."""
    several: bool
    """Whether an image may have several classes, each with a probability of its own; else they sum to 1."""
    threshold: float
    """Probability above which a class is named, from 0 to 1."""
    weights: str
    """Fingerprint of the encoder that the head was fitted to."""
    fit: dict[str, Any] = field(default_factory=dict)
    """Facts about the fit, for people: images, settings, accuracy and error in cross-validation."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Origin of the encoder's weights, for the model card of an export."""

    def named(self, probabilities: Tensor) -> list[list[int]]:
        """The classes that are named for each of (N, C) probabilities, most probable first; one at most, unless there are several."""
        best, order = probabilities.sort(dim=1, descending=True)
        most = None if self.several else 1
        counts = (best > self.threshold).sum(dim=1).tolist()
        return [row[:count][:most] for row, count in zip(order.tolist(), counts, strict=True)]


class Classifier(Encoder):
    """An encoder in eval mode with a head: images -> (N, C) calibrated probabilities of the classes.

    It takes what an `Encoder` takes: uint8 images, or floats in [0, 1], of any size.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        module: nn.Module,
        description: EncoderDescription,
        weight: Tensor,
        bias: Tensor,
        about: ClassifierDescription,
    ) -> None:
        super().__init__(module, description)
        self.about = about
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, in the order of the probabilities."""
        return self.about.classes

    @torch.no_grad()
    def encode_preprocessed(self, normalised: Tensor) -> Tensor:
        """Probabilities of preprocessed images: (N, C, S, S) -> (N, num_classes) float32."""
        return self.of_features(super().encode_preprocessed(normalised))

    @torch.no_grad()
    def of_features(self, features: Tensor) -> Tensor:
        """Probabilities of the encoder's features: (N, num_features) -> (N, num_classes)."""
        return self.probabilities(self.logits(features))

    def logits(self, features: Tensor) -> Tensor:
        """Calibrated logits of the encoder's features: (N, num_features) -> (N, num_classes)."""
        return features @ self.weight.T + self.bias

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of (N, num_classes) calibrated logits: the softmax, or the sigmoid where images may have several classes."""
        return logits.sigmoid() if self.about.several else logits.softmax(dim=1)

    def named(self, images: Tensor) -> list[str]:
        """The class of each image, or `unsure`; several classes are joined by `;`."""
        rows = self.about.named(self(images).cpu())
        return [";".join(self.classes[number] for number in row) or UNSURE for row in rows]


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Writes the encoder, the head and `classifier.json` into `folder`."""
    save_encoder(folder, classifier.module, classifier.description)
    save_tensors(folder / HEAD, {"weight": classifier.weight, "bias": classifier.bias})
    write_json(folder / CLASSIFIER, asdict(classifier.about))


def is_classifier(folder: str | Path) -> bool:
    """Whether `folder` is that of a classifier."""
    return (user_path(folder) / CLASSIFIER).is_file()


def read_classes(folder: Path) -> ClassifierDescription:
    """Reads `classifier.json` in `folder`. Raises RunError if it is missing or damaged."""
    if not (folder / CLASSIFIER).exists():
        raise RunError(
            f"{folder} is no classifier: it holds no {CLASSIFIER}. byol classify fit ENCODER --data LABELLED --out FOLDER makes one."
        )
    content = read_json(folder / CLASSIFIER) or {}
    try:
        about = ClassifierDescription(**{entry.name: content[entry.name] for entry in fields(ClassifierDescription)})
        classes = tuple(about.classes)
        if not all(isinstance(name, str) for name in classes) or not isinstance(about.threshold, int | float):
            raise TypeError("classes are names and the threshold is a number")
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / CLASSIFIER} cannot be read ({error}).") from error
    return ClassifierDescription(**{**vars(about), "classes": classes})


def load_classifier(folder: str | Path, module: nn.Module | None = None) -> Classifier:
    """Loads the classifier that `byol classify fit` wrote to `folder`: images -> (N, C) probabilities.

    `module`: as for `byol.load`. Raises RunError if files are missing or damaged, EncoderError if the encoder is not the one
    that the head was fitted to.
    """
    folder = user_path(folder)
    about = read_classes(folder)
    if not (folder / HEAD).exists():
        raise RunError(
            f"{folder} holds no {HEAD}: it is an export for other tools. Name the folder that byol classify fit wrote."
        )
    encoder = load_encoder(folder, module)
    if (found := encoder.fingerprint()) != about.weights:
        raise EncoderError(
            f"The encoder in {folder} was changed after the classifier was fitted to it (fingerprint {found}, then "
            f"{about.weights}), so that its probabilities mean nothing. Fit again: byol classify fit ENCODER --data LABELLED --out FOLDER."
        )
    try:
        head = load_file(folder / HEAD)
        weight, bias = head["weight"], head["bias"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{folder / HEAD} cannot be read ({error}).") from error
    if weight.shape != (len(about.classes), encoder.num_features) or bias.shape != (len(about.classes),):
        raise RunError(
            f"{folder / HEAD} has weights {tuple(weight.shape)} for {len(about.classes)} classes and {encoder.num_features} features."
        )
    return Classifier(encoder.module, encoder.description, weight, bias, about)
