"""Replacing batch norm by other normalisations, in any network; weight standardisation."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from byol.errors import EncoderError
from byol.nets.norm import DeepMindBatchNorm, LocalBatchNorm1d, LocalBatchNorm2d, SynchronizedBatchNorm
from byol.nets.replace_modules import replace_modules

NormKind = Literal["batch", "local-batch", "group", "layer", "instance", "affine", "none", "frozen"]


class ChannelAffineNorm(nn.Module):
    """A scale and a shift per channel of (N, C) or (N, C, H, W), without any statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, input: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (input.dim() - 2))
        return input * self.weight.view(shape) + self.bias.view(shape)


class FrozenBatchNorm(nn.Module):
    """A batch norm (with timm's activation, if any) that uses its running averages in training too; the same names."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, old: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.eps = old.eps
        self._parameters, self._buffers = old._parameters, old._buffers
        self.drop, self.act = (getattr(old, name, None) or nn.Identity() for name in ("drop", "act"))

    def forward(self, input: Tensor) -> Tensor:
        output = nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
        return self.act(self.drop(output))


def replace_norm(module: nn.Module, kind: NormKind, groups: int = 32, *, vectors: bool = False) -> int:
    """Replaces, in place, every batch norm below `module` by one of `kind`; returns how many.

    Scales and shifts are kept; no random number is drawn. `vectors`: the module is a head, whose norms see vectors.

    | kind | normalisation |
    | --- | --- |
    | batch | unchanged |
    | local-batch | batch norm over each rank's own images |
    | group | `groups` groups of channels; fewer if they do not divide, or would hold less than 2 maps or 16 features |
    | layer | one group |
    | instance | one group per map; not for vectors |
    | affine | scale and shift alone |
    | none | nothing |
    | frozen | batch norm by the averages it has |

    Raises EncoderError for an instance norm of vectors, and for batch norms that cannot be local or frozen.
    """

    def replacement(norm: nn.Module) -> nn.Module | None:
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | SynchronizedBatchNorm):
            return None
        new = _new_norm(norm, kind, groups, vectors or isinstance(norm, nn.BatchNorm1d))
        activation = getattr(norm, "act", None)  # timm's batch norms hold the activation after them
        if isinstance(activation, nn.Module) and kind != "frozen":
            return nn.Sequential(new, activation)
        return new

    return 0 if kind == "batch" else replace_modules(module, replacement)


def _new_norm(old: nn.modules.batchnorm._BatchNorm, kind: NormKind, groups: int, vectors: bool) -> nn.Module:
    channels = old.num_features
    new: nn.Module
    if kind == "none":
        return nn.Identity()
    if kind == "frozen":
        if isinstance(old, DeepMindBatchNorm) or not old.track_running_stats:
            raise EncoderError("norm frozen needs encoder.conventions torch and batch norms that hold averages.")
        return FrozenBatchNorm(old)
    if kind == "local-batch":
        if type(old) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise EncoderError("norm local-batch needs encoder.conventions torch and an encoder with plain batch norm.")
        new = (LocalBatchNorm1d if vectors else LocalBatchNorm2d)(channels, eps=old.eps, momentum=old.momentum)
    elif kind == "affine":
        new = ChannelAffineNorm(channels)
    elif kind == "instance" and vectors:
        raise EncoderError("Instance norm needs maps; the heads have vectors. Use layer, group, batch or none there.")
    else:
        most = {"group": groups, "layer": 1, "instance": channels}[kind]
        smallest = 1 if kind == "instance" else 16 if vectors else 2
        new = nn.GroupNorm(largest_divisor(channels, min(most, max(1, channels // smallest))), channels, eps=old.eps)
    with torch.no_grad():
        for name in ("weight", "bias"):
            if isinstance(parameter := getattr(old, name), Tensor):
                getattr(new, name).copy_(parameter)
    return new


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return max(d for i in range(1, math.isqrt(number) + 1) if not number % i for d in (i, number // i) if d <= most)


class _Standardized(nn.Module):
    """Parametrisation of a weight: each row has mean 0 and standard deviation 1 over its inputs."""

    def forward(self, weight: Tensor) -> Tensor:
        var, mean = torch.var_mean(weight.flatten(1), dim=1, correction=0)
        shape = (-1, *[1] * (weight.dim() - 1))
        return (weight - mean.view(shape)) * torch.rsqrt(var + 1e-5).view(shape)


def standardize_weights(module: nn.Module) -> nn.Module:
    """Makes, in place, convolutions and linear layers standardise their weights at every use (Qiao et al. 2019).

    Each output unit's weights have their mean subtracted and are divided by their standard deviation over the inputs.
    The trained weight is then called `parametrizations.weight.original`. Returns `module`.
    """
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight[0].numel() > 1:
            parametrize.register_parametrization(part, "weight", _Standardized())
    return module
