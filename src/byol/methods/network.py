"""What every method is made of: encoder and projector, the views' normalisation, and what the engine asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class MethodOutput:
    """What a forward of a method gives."""

    loss: Tensor
    """Scalar with gradient."""
    projection1: Tensor
    """(N, D) online projection of view 1, detached: what the collapse watch looks at."""
    target2: Tensor
    """(N, D) target projection of view 2, detached."""


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

    def trained_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that the optimizer moves, by name; in an order that does not depend on the classifier."""
        yield "online", self.online
        yield "predictor", self.predictor
        if self.classifier is not None:
            yield "classifier", self.classifier

    def update_target(self, tau: float) -> None:
        """What follows the optimizer's step; nothing where no network follows another."""
