"""BYOL: the online network predicts its slow copy's projection of another view of the same image."""

import copy

import torch
from torch import Tensor, nn

from byol.methods.losses import byol_loss
from byol.methods.network import Method, MethodOutput, Network, Normalize
from byol.runtime.view_roles import ViewBatch


class BYOL(Method):
    """Online f, g, q and target f, g (BYOL section 3).

    Each view is a separate forward through each network, so that batch norm sees one view at a time. The target
    runs in train mode with its own batch statistics and running averages; only its parameters follow the online
    network. `target` starts as a copy, or as the given network (`target_init="independent"`, as in DeepMind's code).
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

    def forward(self, views: ViewBatch, labels: Tensor | None = None) -> MethodOutput:
        """Views 1 and 2, (N, C, S, S) in [0, 1] -> loss. `labels` (N,) train the online classifier alone, if there is one."""
        view1, view2 = self.normalize(views.view1), self.normalize(views.view2)
        representation1, projection1 = self.online(view1)
        _, projection2 = self.online(view2)
        with torch.no_grad():
            _, target1 = self.target(view1)
            _, target2 = self.target(view2)
        loss = byol_loss(self.predictor(projection1), self.predictor(projection2), target1, target2)
        return self.output(loss, representation1, projection1, target2, labels)

    @property
    def has_average(self) -> bool:
        return True

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, parameters only (BYOL equation 1); after the optimizer's step."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - tau)
