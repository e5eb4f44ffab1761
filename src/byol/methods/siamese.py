"""BYOL's relatives in one class: SimCLR, SimSiam, what lies between, a fixed target, asymmetric views."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from byol.methods.contrastive import Gather, alone
from byol.methods.losses import l2_normalize
from byol.methods.network import Method, MethodOutput, Network, Normalize

TargetKind = Literal["average", "fixed", "stop-gradient", "online"]
PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(prediction of view 1, of view 2, target of view 1, of view 2), each (N, D) -> scalar over both directions."""
AsTarget = Callable[[Network], AbstractContextManager[None]]
"""Entered with the online network where it is the target."""


class PairMethod(Method):
    """Two views through an online network, compared with what a target says of the other view.

    | method | predictor | target | loss |
    | --- | --- | --- | --- |
    | BYOL | MLP | average | regression |
    | SimSiam | MLP | stop-gradient | negative cosine |
    | SimCLR | none | online | NT-Xent |
    | between | any | any | InfoNCE |

    `target`: a network that is the online one's moving average, a `fixed` random one, or the online network itself,
    with or without a `stop-gradient`. `predictor` None: none; "least-squares": the best linear map of the batch's
    projections to their targets, through which no gradient flows (BYOL section 5 and appendix I). `as_target`: where the
    online network itself is the target, what changes it meanwhile, in a forward of its own. With target="average", an
    MLP and BYOL's loss it computes what `methods.byol.BYOL` does.
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

    def forward(
        self,
        view1: Tensor,
        view2: Tensor,
        labels: Tensor | None = None,
        others: Mapping[str, tuple[Tensor, ...]] | None = None,
    ) -> MethodOutput:
        """Views (N, C, S, S) in [0, 1] -> loss. `labels` (N,) train the classifier alone, where there is one.

        `others` holds further views of the same images. `sources1`, `sources2`: more online views, averaged with
        view1 and view2. `targets1`, `targets2`: what the target sees in place of them, averaged where several.
        `small`: views of any size for the online network alone, each of which predicts both targets.
        """
        others = others or {}
        sources1 = tuple(self.normalize(v) for v in (view1, *others.get("sources1", ())))
        sources2 = tuple(self.normalize(v) for v in (view2, *others.get("sources2", ())))
        representation1, projection1 = self._encode(self.online, sources1)
        _, projection2 = self._encode(self.online, sources2)
        target1 = self._target(sources1, projection1, others.get("targets1"))
        target2 = self._target(sources2, projection2, others.get("targets2"))
        small = [self.online(self.normalize(view))[1] for view in others.get("small", ())]

        predict = self._least_squares(projection1, projection2, target1, target2) if self.least_squares else None
        predict = predict or self.predictor
        losses = [self.loss(predict(projection1), predict(projection2), target1, target2)]
        for projection in small:
            prediction = predict(projection)
            losses.append(self.loss(prediction, prediction, target1, target2))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return self.output(loss, representation1, projection1, target2, labels)

    @staticmethod
    def _encode(network: nn.Module, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(representation of the first view, projection); of several views the mean of the unit projections."""
        encoded = [network(view) for view in views]
        if len(encoded) == 1:
            return encoded[0]
        return encoded[0][0], torch.stack([l2_normalize(projection) for _, projection in encoded]).mean(dim=0)

    def _target(self, sources: tuple[Tensor, ...], projection: Tensor, own: tuple[Tensor, ...] | None) -> Tensor:
        views = sources if own is None else tuple(self.normalize(view) for view in own)
        if self.target is not None:
            with torch.no_grad():
                return self._encode(self.target, views)[1]
        stops = self.target_kind == "stop-gradient"
        if own is None and self.as_target is None:
            return projection.detach() if stops else projection
        without_gradient = torch.no_grad() if stops else contextlib.nullcontext()
        with without_gradient, self.as_target(self.online) if self.as_target else contextlib.nullcontext():
            return self._encode(self.online, views)[1]

    @torch.no_grad()
    def _least_squares(
        self, projection1: Tensor, projection2: Tensor, target1: Tensor, target2: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """The map z -> z Q with Q = argmin |Z Q - Z'|, over both directions and all ranks' images."""
        projections, targets = torch.cat((projection1, projection2)), torch.cat((target2, target1))
        dtype = torch.float64 if projections.dtype == torch.float64 else torch.float32
        with torch.autocast(projections.device.type, enabled=False):
            best = least_squares(self.gather(projections.to(dtype))[0], self.gather(targets.to(dtype))[0])
        return lambda projection: projection.to(dtype) @ best

    @property
    def has_average(self) -> bool:
        return self.target_kind == "average"

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, parameters only (BYOL equation 1); nothing without an average."""
        if self.target is not None and self.has_average:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - tau)


def least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(D, E) matrix Q of least norm that minimises |inputs Q - outputs|, for (N, D) and (N, E) rows."""
    return torch.linalg.pinv(inputs, rtol=1e-5) @ outputs
