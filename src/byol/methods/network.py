"""Parts shared by all methods: encoder and projector, normalisation of views, and the interface to the engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from byol.errors import EncoderError
from byol.methods.losses import at_least_float32
from byol.runtime.normalize import normalize

Branch = Literal["online", "target"]
"""Name of one of a method's two networks."""


@dataclass
class MethodOutput:
    """Result of a method's forward."""

    loss: Tensor
    """Scalar with gradient: the method's own loss."""
    projection1: Tensor
    """(N, D) online projection of view 1, detached, for the collapse watch."""
    target2: Tensor
    """(N, D) target projection of view 2, detached."""
    classifier_loss: Tensor | None = None
    """Scalar with gradient into the online classifier alone; None without a classifier."""
    classifier_accuracy: Tensor | None = None
    """Accuracy of the online classifier on view 1, percent; None without a classifier."""

    @property
    def total(self) -> Tensor:
        """Loss that the training step minimises."""
        return self.loss if self.classifier_loss is None else self.loss + self.classifier_loss

    def detached(self) -> "MethodOutput":
        """A copy whose losses are detached from the graph."""
        classifier_loss = None if self.classifier_loss is None else self.classifier_loss.detach()
        return replace(self, loss=self.loss.detach(), classifier_loss=classifier_loss)


class Network(nn.Module):
    """Encoder f and projector g."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) -> representation y (N, F) and projection z (N, D).

        Raises EncoderError if the encoder gives something other than a tensor, as some do in train mode alone.
        """
        representation = self.encoder(images)
        if not isinstance(representation, Tensor):
            mode = "train" if self.training else "eval"
            raise EncoderError(
                f"The encoder {type(self.encoder).__name__} gives {type(representation).__name__} in {mode} mode, not a "
                "tensor. Wrap it in a module that returns the one tensor of vectors, (N, D)."
            )
        return representation, self.projector(representation)


class Teacher(Network):
    """A trained encoder as the target network: fixed, in eval mode, with its own normalisation and without a projector.

    Differs from the paper: the target is no average of the online network (distillation).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: nn.Module, own: "Normalize", of_views: "Normalize", size: int = 0) -> None:
        """`own`: the normalisation that the encoder was trained with. `of_views`: that of the views it is given. `size`: side in pixels to which views are resized; 0: none are."""
        super().__init__(encoder, nn.Identity())
        self.size = size
        self.register_buffer("scale", of_views.std / own.std)
        self.register_buffer("shift", (of_views.mean - own.mean) / own.std)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode, whatever the `mode`."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) -> representation y (N, F), twice."""
        if self.size and self.size != images.shape[-1]:
            images = nn.functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        representation, _ = super().forward(images * self.scale + self.shift)
        return representation, representation


class Normalize(nn.Module):
    """Subtracts the mean and divides by the standard deviation, per channel, of views in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return normalize(images, self.mean, self.std)


class Method(nn.Module):
    """Interface of a method to engine and export: views in, a loss out, and one encoder to keep."""

    normalize: Normalize
    online: Network
    predictor: nn.Module
    classifier: nn.Linear | None

    @property
    def encoder(self) -> nn.Module:
        """The network that is exported."""
        return self.online.encoder

    @property
    def has_average(self) -> bool:
        """Whether the target network is a moving average of the online one."""
        return False

    def output(
        self, loss: Tensor, representation1: Tensor, projection1: Tensor, target2: Tensor, labels: Tensor | None
    ) -> MethodOutput:
        """Output with the loss and accuracy of the online classifier, if any, on view 1, behind a stop-gradient."""
        output = MethodOutput(loss, projection1.detach(), target2.detach())
        if self.classifier is not None and labels is not None:
            logits = at_least_float32(self.classifier(representation1.detach()))
            output.classifier_loss = nn.functional.cross_entropy(logits, labels)
            output.classifier_accuracy = 100 * (logits.detach().argmax(dim=1) == labels).float().mean()
        return output

    def trained_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Modules that the optimizer trains, by name; the classifier comes last."""
        yield "online", self.online
        yield "predictor", self.predictor
        if self.classifier is not None:
            yield "classifier", self.classifier

    @property
    def linear_predictor(self) -> Tensor | None:
        """Matrix P, (D, D) detached, of a predictor that maps (N, D) projections Z to Z P; None for any other."""
        if isinstance(matrix := getattr(self.predictor, "matrix", None), Tensor):
            return matrix
        layers = list(self.predictor.children())
        if len(layers) == 1 and type(layers[0]) is nn.Linear and layers[0].bias is None:
            weight = layers[0].weight.detach().T
            return weight if weight.shape[0] == weight.shape[1] else None
        return None

    def update_target(self, tau: float) -> None:
        """Updates the target network, and a closed-form predictor, after the optimizer's step; does nothing without them."""
