"""BYOL's relatives in one class: SimCLR, SimSiam, combinations of them, a fixed target, asymmetric views."""

import contextlib
import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from byol.methods.closed_form import ClosedFormPredictor
from byol.methods.contrastive import Gather, alone
from byol.methods.losses import l2_normalize
from byol.methods.network import Method, MethodOutput, Network, Normalize
from byol.runtime.view_roles import ViewBatch

TargetKind = Literal["average", "fixed", "stop-gradient", "online"]
PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Loss of (prediction 1, prediction 2, target 1, target 2), each (N, D): a scalar over both directions."""
AsTarget = Callable[[Network], AbstractContextManager[None]]
"""Context entered while the online network computes targets, e.g. to change how its batch norm splits the batch."""


class PairMethod(Method):
    """Two views through an online network, each compared with a target's projection of the other view.

    | method | predictor | target | loss |
    | --- | --- | --- | --- |
    | BYOL | MLP | average | regression |
    | SimSiam | MLP | stop-gradient | negative cosine |
    | SimCLR | none | online | NT-Xent |
    | between | any | any | InfoNCE |

    `target` is the online network's moving average, a `fixed` random network, or the online network itself, with or
    without a `stop-gradient`. `predictor` may be None, a module, or "least-squares": the best linear map from the batch's
    projections to their targets, without gradient (BYOL section 5 and appendix I). A `ClosedFormPredictor` observes the
    projections of training steps and is set after each. `as_target` changes the online network while it is the target, in a
    separate forward. With target="average", an MLP and BYOL's loss the class computes the same as `methods.byol.BYOL`.
    """

    def __init__(
        self,
        network: Network,
        predictor: nn.Module | Literal["least-squares"] | None,
        loss: PairLoss,
        *,
        target: TargetKind,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        target_network: Network | None = None,
        as_target: AsTarget | None = None,
        classifier: nn.Linear | None = None,
        gather: Gather = alone,
    ) -> None:
        super().__init__()
        self.online = network
        self.least_squares = predictor == "least-squares"
        self.predictor = predictor if isinstance(predictor, nn.Module) else nn.Identity()
        self.target_kind: TargetKind = target
        self.target = None
        if target in ("average", "fixed"):
            self.target = copy.deepcopy(network) if target_network is None else target_network
            self.target.requires_grad_(False)
        self.as_target = as_target
        self.normalize = Normalize(mean, std)
        self.classifier = classifier
        self.loss = loss
        self.gather = gather

    def forward(self, views: ViewBatch, labels: Tensor | None = None) -> MethodOutput:
        """Views in [0, 1] by role -> loss. `labels` (N,) train the online classifier alone, if there is one."""
        views = views.map(self.normalize)
        representation1, projection1 = self._encode(self.online, views.sources1)
        _, projection2 = self._encode(self.online, views.sources2)
        target1 = self._target(views.sources1, projection1, views.targets1)
        target2 = self._target(views.sources2, projection2, views.targets2)
        small = [self.online(view)[1] for view in views.small]

        predict = self._least_squares(projection1, projection2, target1, target2) if self.least_squares else None
        predict = predict or self.predictor
        if isinstance(self.predictor, ClosedFormPredictor) and self.training and torch.is_grad_enabled():
            self.predictor.observe(*_both(projection1, projection2, target1, target2), self.gather)
        losses = [self.loss(predict(projection1), predict(projection2), target1, target2)]
        for projection in small:
            prediction = predict(projection)
            losses.append(self.loss(prediction, prediction, target1, target2))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return self.output(loss, representation1, projection1, target2, labels)

    @staticmethod
    def _encode(network: nn.Module, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(representation of the first view, projection); with several views the mean of the unit projections."""
        encoded = [network(view) for view in views]
        if len(encoded) == 1:
            return encoded[0]
        return encoded[0][0], torch.stack([l2_normalize(projection) for _, projection in encoded]).mean(dim=0)

    def _target(self, sources: tuple[Tensor, ...], projection: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        views = targets or sources
        if self.target is not None:
            with torch.no_grad():
                return self._encode(self.target, views)[1]
        stops = self.target_kind == "stop-gradient"
        if not targets and self.as_target is None:
            return projection.detach() if stops else projection
        without_gradient = torch.no_grad() if stops else contextlib.nullcontext()
        with without_gradient, self.as_target(self.online) if self.as_target else contextlib.nullcontext():
            return self._encode(self.online, views)[1]

    @torch.no_grad()
    def _least_squares(
        self, projection1: Tensor, projection2: Tensor, target1: Tensor, target2: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """Map z -> z Q with Q = argmin |Z Q - Z'|, over both directions and all ranks' images."""
        projections, targets = _both(projection1, projection2, target1, target2)
        dtype = torch.float64 if projections.dtype == torch.float64 else torch.float32
        with torch.autocast(projections.device.type, enabled=False):
            best = least_squares(self.gather(projections.to(dtype))[0], self.gather(targets.to(dtype))[0])
        return lambda projection: projection.to(dtype) @ best

    @property
    def has_average(self) -> bool:
        return self.target_kind == "average"

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, parameters only (BYOL equation 1), if there is an average; sets a closed-form predictor."""
        if isinstance(self.predictor, ClosedFormPredictor):
            self.predictor.update()
        if self.target is not None and self.has_average:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - tau)


def _both(projection1: Tensor, projection2: Tensor, target1: Tensor, target2: Tensor) -> tuple[Tensor, Tensor]:
    """Projections of both views, (2N, D), and the targets that they predict."""
    return torch.cat((projection1, projection2)), torch.cat((target2, target1))


def least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(D, E) matrix Q of least norm that minimises |inputs Q - outputs|, for (N, D) and (N, E) rows.

    Every entry is NaN if an input is not finite, so that the loss says so.
    """
    try:
        return torch.linalg.pinv(inputs, rtol=1e-5) @ outputs
    except torch.linalg.LinAlgError:
        return inputs.new_full((inputs.shape[1], outputs.shape[1]), torch.nan)
