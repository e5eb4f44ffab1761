"""What every method is made of: encoder and projector, the views' normalisation, and what the engine asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from byol.methods.losses import at_least_float32


@dataclass
class MethodOutput:
    """What a forward of a method gives."""

    loss: Tensor
    """Scalar with gradient, the method's own."""
    projection1: Tensor
    """(N, D) online projection of view 1, detached: what the collapse watch looks at."""
    target2: Tensor
    """(N, D) target projection of view 2, detached."""
    classifier_loss: Tensor | None = None
    """Scalar with gradient into the online classifier alone, where there is one."""
    classifier_accuracy: Tensor | None = None
    """Scalar, percent of these images whose view 1 it names right."""

    @property
    def total(self) -> Tensor:
        """What the step descends."""
        return self.loss if self.classifier_loss is None else self.loss + self.classifier_loss

    def detached(self) -> "MethodOutput":
        """The same without the graph."""
        classifier_loss = None if self.classifier_loss is None else self.classifier_loss.detach()
        return replace(self, loss=self.loss.detach(), classifier_loss=classifier_loss)


class Network(nn.Module):
    """An encoder f and a projector g."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) -> representation y (N, F) and projection z (N, D)."""
        representation = self.encoder(images)
        return representation, self.projector(representation)


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation per channel; views come as floats in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Method(nn.Module):
    """A method as engine and export see it: views in, a loss out, and one encoder to keep."""

    normalize: Normalize
    online: Network
    predictor: nn.Module
    classifier: nn.Linear | None

    @property
    def encoder(self) -> nn.Module:
        """The network to keep."""
        return self.online.encoder

    @property
    def has_average(self) -> bool:
        """Whether a target network follows the online one, by tau."""
        return False

    def output(
        self, loss: Tensor, representation1: Tensor, projection1: Tensor, target2: Tensor, labels: Tensor | None
    ) -> MethodOutput:
        """With what the online classifier makes of view 1, where there is one: it learns behind a stop-gradient."""
        output = MethodOutput(loss, projection1.detach(), target2.detach())
        if self.classifier is not None and labels is not None:
            logits = at_least_float32(self.classifier(representation1.detach()))
            output.classifier_loss = nn.functional.cross_entropy(logits, labels)
            output.classifier_accuracy = 100 * (logits.detach().argmax(dim=1) == labels).float().mean()
        return output

    def trained_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that the optimizer moves, by name; in an order that does not depend on the classifier."""
        yield "online", self.online
        yield "predictor", self.predictor
        if self.classifier is not None:
            yield "classifier", self.classifier

    def update_target(self, tau: float) -> None:
        """What follows the optimizer's step; nothing where no network follows another."""
