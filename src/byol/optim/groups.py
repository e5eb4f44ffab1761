"""Groups of parameters with and without weight decay and LARS adaptation, and optimizers of these groups."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from byol.optim.lars import LARS


def split_parameters(
    modules: Iterable[tuple[str, nn.Module]],
) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """(weights, excluded) by name: biases and normalisation parameters are excluded (BYOL section 3.3).

    Vectors are excluded too, in whatever shape they are stored (layer scales, gains, class tokens), and what a network
    of timm names in `no_weight_decay()` (position embeddings, relative position biases).
    """
    weights: dict[str, Parameter] = {}
    excluded: dict[str, Parameter] = {}
    for root, module in modules:
        undecayed = _without_decay(module)
        for path, part in module.named_modules(prefix=root):
            normalisation = "norm" in type(part).__name__.lower()
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.requires_grad:
                    named = normalisation or name == "bias" or id(parameter) in undecayed
                    is_excluded = named or _is_vector(name, parameter)
                    (excluded if is_excluded else weights)[f"{path}.{name}"] = parameter
    return weights, excluded


def describe_groups(modules: Iterable[tuple[str, nn.Module]], *, decay_all: bool = False) -> str:
    """How many tensors are decayed and how many excluded, with the kinds of the excluded ones, in one line."""
    weights, excluded = split_parameters(modules)
    if decay_all:
        return f"weight decay on all {len(weights) + len(excluded)} tensors"
    kinds = sorted({name.rpartition(".")[2] for name in excluded})
    named = ", ".join("norm weight" if kind == "weight" else kind for kind in kinds)
    return f"weight decay on {len(weights)} tensors, none on {len(excluded)}" + (f" ({named})" if named else "")


def _without_decay(module: nn.Module) -> set[int]:
    """Identities of the parameters that the networks in `module` name in timm's `no_weight_decay()`."""
    identities: set[int] = set()
    for part in module.modules():
        names = getattr(part, "no_weight_decay", None)
        if callable(names):
            listed = set(names())  # pyright: ignore[reportArgumentType]
            identities |= {id(parameter) for name, parameter in part.named_parameters() if name in listed}
    return identities


def _is_vector(name: str, parameter: Parameter) -> bool:
    """Whether a parameter is one vector; a layer's `weight` of several dimensions is a matrix, however narrow."""
    return parameter.dim() <= 1 or (name != "weight" and parameter.numel() == max(parameter.shape))


def create_optimizer(
    modules: Iterable[tuple[str, nn.Module]],
    name: Literal["lars", "sgd", "adamw"] = "lars",
    *,
    weight_decay: float = 1e-6,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
    decay_all: bool = False,
    rates: Mapping[str, float] | None = None,
    fused: bool = False,
) -> Optimizer:
    """Optimizer with two groups: decayed (and adapted) weights, and the rest. The rate is set at every step.

    `rates` multiplies the rate of parameters by prefix of their names, as in {"predictor.": 10.0}, in two further
    groups each. `decay_all` decays the rest too, as SimSiam does. `fused` updates in as few passes over the memory as
    possible.
    """
    weights, excluded = split_parameters(modules)
    rest_decay = weight_decay if decay_all else 0.0
    groups = []
    for prefix in (None, *(rates or {})):
        for parameters, decay, adapt in ((weights, weight_decay, True), (excluded, rest_decay, False)):
            of_group = [p for n, p in parameters.items() if _prefix(n, rates or {}) == prefix]
            group: dict[str, Any] = {"params": of_group, "weight_decay": decay}
            if prefix is not None:
                group["rate_multiplier"] = (rates or {})[prefix]
            if name == "lars":
                group["adapt"] = adapt
            groups.append(group)
    if name == "lars":
        return LARS(groups, momentum=momentum, trust_coefficient=trust_coefficient, fused=fused)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=0.0, fused=fused)


def _prefix(name: str, rates: Iterable[str]) -> str | None:
    return next((prefix for prefix in rates if name.startswith(prefix)), None)
