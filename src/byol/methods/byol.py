"""BYOL: the online network predicts what a slow copy of itself says of another view of the same image."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol.methods.losses import byol_loss


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


class BYOL(nn.Module):
    """Online f, g, q and target f, g (BYOL section 3).

    Each view is a forward of its own through each network, so that batch norm sees one view at a time. The target
    runs in train mode with batch statistics and running averages of its own; only its parameters follow the online
    network. `target` starts as a copy, or as the given network (`target_init="independent"`, as DeepMind's code).
    """

    def __init__(
        self,
        network: Network,
        predictor: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        target: Network | None = None,
        classifier: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.online = network
        self.predictor = predictor
        self.target = copy.deepcopy(network) if target is None else target
        self.target.requires_grad_(False)
        self.normalize = Normalize(mean, std)
        self.classifier = classifier

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Views (N, C, S, S) in [0, 1] -> loss. `labels` (N,) train the classifier alone, where there is one."""
        view1, view2 = self.normalize(view1), self.normalize(view2)
        representation1, projection1 = self.online(view1)
        _, projection2 = self.online(view2)
        with torch.no_grad():
            _, target1 = self.target(view1)
            _, target2 = self.target(view2)
        loss = byol_loss(self.predictor(projection1), self.predictor(projection2), target1, target2)
        if self.classifier is not None and labels is not None:
            logits = self.classifier(representation1.detach())
            loss = loss + nn.functional.cross_entropy(
                logits.float() if logits.dtype != torch.float64 else logits, labels
            )
        return MethodOutput(loss, projection1.detach(), target2)

    @property
    def encoder(self) -> nn.Module:
        """The network to keep."""
        return self.online.encoder

    def trained_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that the optimizer moves, by name; in an order that does not depend on the classifier."""
        yield "online", self.online
        yield "predictor", self.predictor
        if self.classifier is not None:
            yield "classifier", self.classifier

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, parameters only (BYOL equation 1); after the optimizer's step."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - tau)
