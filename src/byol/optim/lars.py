"""LARS exactly as DeepMind trained BYOL with it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from byol.optim.fused_lars import fits, lars_step

HYPERPARAMETERS = ("lr", "momentum", "weight_decay", "trust_coefficient", "adapt")


class LARS(Optimizer):
    """Momentum SGD whose weights move at a rate relative to their own norm (BYOL section 3.3).

    For a group with `adapt`:   g <- g + weight_decay p;  g <- g * eta |p| / |g|   (factor 1 where a norm is 0)
    For every group:            m <- momentum m + g;      p <- p - lr m

    One norm, of gradient and decay together; no epsilon; the rate stays outside the momentum buffer. Biases and
    normalisation parameters belong in a group with adapt=False and weight_decay=0 (`optim.groups`). `fused` uses the
    compiled update on a CPU, with two passes over the memory.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        adapt: bool = True,
        fused: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": adapt,
        }
        super().__init__(params, defaults)
        self.fused = fused

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update; parameters without a gradient stay unchanged."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            buffers = [self._momentum_buffer(p) for p in parameters]
            if self.fused and fits(parameters):
                lars_step(parameters, gradients, buffers, **{name: group[name] for name in HYPERPARAMETERS})
                continue
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            if group["adapt"]:
                gradients = torch._foreach_mul(
                    gradients, self._ratios(parameters, gradients, group["trust_coefficient"])
                )
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])

    @staticmethod
    def _ratios(parameters: list[Tensor], gradients: list[Tensor], eta: float) -> list[Tensor]:
        """eta |p| / |g| per tensor, 1 where either norm is 0; without synchronising with the device."""
        weight_norms = torch.stack(torch._foreach_norm(parameters))
        gradient_norms = torch.stack(torch._foreach_norm(gradients))
        defined = (weight_norms > 0) & (gradient_norms > 0)
        ratios = torch.where(defined, eta * weight_norms / gradient_norms, torch.ones_like(weight_norms))
        return list(ratios.unbind())

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        elif (
            self.fused and state["momentum_buffer"].stride() != parameter.stride()
        ):  # loaded with another memory layout
            state["momentum_buffer"] = torch.empty_like(parameter).copy_(state["momentum_buffer"])
        return state["momentum_buffer"]
