"""Other normalisations in place of batch norm, in any network; and weight standardisation."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from byol.errors import EncoderError
from byol.nets.norm import DeepMindBatchNorm, LocalBatchNorm1d, LocalBatchNorm2d, SynchronizedBatchNorm

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
    """A batch norm (and timm's activation after it) by the averages that it has, in training too; the same names."""

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


def replace_norm(module: nn.Module, kind: NormKind, groups: int = 32, *, vectors: bool = False) -> nn.Module:
    """`module` with every batch norm replaced by one of `kind`; scales and shifts are kept. No chance is used.

    batch: as it is. local-batch: of each rank's own images. group: `groups` groups of channels (fewer where they
    would hold less than 2 maps or 16 features each, or do not divide). layer: one group. instance: each map of its
    own, which vectors do not have. affine: scale and shift alone. none: nothing. frozen: batch norm by the averages
    that it has. `vectors`: the module is a head, all of whose norms see vectors. Raises EncoderError for an instance norm of vectors, and for what cannot be frozen.
    """
    if kind == "batch":
        return module
    for name, child in module.named_children():
        made = replace_norm(child, kind, groups, vectors=vectors)
        if made is not child:
            setattr(module, name, made)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | SynchronizedBatchNorm):
        return _replacement(module, kind, groups, vectors or isinstance(module, nn.BatchNorm1d))
    return module


def _replacement(old: nn.modules.batchnorm._BatchNorm, kind: NormKind, groups: int, vectors: bool) -> nn.Module:
    channels = old.num_features
    made: nn.Module
    if kind == "none":
        return _with_activation(old, nn.Identity())
    if kind == "frozen":
        if isinstance(old, DeepMindBatchNorm) or not old.track_running_stats:
            raise EncoderError("norm frozen needs encoder.conventions torch and batch norms that hold averages.")
        return FrozenBatchNorm(old)
    if kind == "local-batch":
        if type(old) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise EncoderError("norm local-batch needs encoder.conventions torch and an encoder with plain batch norm.")
        made = (LocalBatchNorm1d if vectors else LocalBatchNorm2d)(channels, eps=old.eps, momentum=old.momentum)
    elif kind == "affine":
        made = ChannelAffineNorm(channels)
    elif kind == "instance" and vectors:
        raise EncoderError("Instance norm needs maps; the heads have vectors. Use layer, group, batch or none there.")
    else:
        most = {"group": groups, "layer": 1, "instance": channels}[kind]
        smallest = 1 if kind == "instance" else 16 if vectors else 2
        made = nn.GroupNorm(largest_divisor(channels, min(most, max(1, channels // smallest))), channels, eps=old.eps)
    with torch.no_grad():
        for name in ("weight", "bias"):
            if isinstance(kept := getattr(old, name), Tensor):
                getattr(made, name).copy_(kept)
    return _with_activation(old, made)


def _with_activation(old: nn.Module, made: nn.Module) -> nn.Module:
    """timm's batch norms hold the activation after them."""
    activation = getattr(old, "act", None)
    return made if not isinstance(activation, nn.Module) else nn.Sequential(made, activation)


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return max(d for i in range(1, math.isqrt(number) + 1) if not number % i for d in (i, number // i) if d <= most)


class _Standardized(nn.Module):
    """A weight whose rows have mean 0 and standard deviation 1 over their inputs."""

    def forward(self, weight: Tensor) -> Tensor:
        var, mean = torch.var_mean(weight.flatten(1), dim=1, correction=0)
        shape = (-1, *[1] * (weight.dim() - 1))
        return (weight - mean.view(shape)) * torch.rsqrt(var + 1e-5).view(shape)


def standardize_weights(module: nn.Module) -> nn.Module:
    """`module` whose convolutions and linear layers standardise their weights at every use (Qiao et al. 2019).

    Per output unit: mean subtracted, divided by the standard deviation over its inputs. The trained weight is then
    called `parametrizations.weight.original`.
    """
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight[0].numel() > 1:
            parametrize.register_parametrization(part, "weight", _Standardized())
    return module
