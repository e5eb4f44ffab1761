"""Batch norm as torch or as DeepMind (Haiku) keeps its averages, over one process or over all ranks."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.runtime.ranks import gather_with_gradient

Conventions = Literal["torch", "deepmind"]


class LocalBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (N, C) that stays within its rank where others span all of them."""


class LocalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of (N, C, H, W) that stays within its rank where others span all of them."""


class SplitBatchNorm1d(LocalBatchNorm1d):
    """Batch norm of (N, C) whose batch is cut into `parts`, each with statistics of its own; smaller ones share."""

    parts: int = 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        parts = max(1, min(self.parts, len(input) // 2))
        return torch.cat([super(SplitBatchNorm1d, self).forward(part) for part in input.tensor_split(parts)])


def split_batch_norm(module: nn.Module, parts: int) -> int:
    """Cuts, in place, the batch of every plain 1d batch norm in `module` into parts; returns how many there are."""
    count = 0
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm1d:
            made = SplitBatchNorm1d(child.num_features, eps=child.eps, momentum=child.momentum)
            made._parameters, made._buffers, made.parts = child._parameters, child._buffers, parts
            setattr(module, name, made)
            count += 1
        else:
            count += split_batch_norm(child, parts)
    return count


@contextlib.contextmanager
def in_parts(module: nn.Module, *, parts: int) -> Iterator[None]:
    """Meanwhile, what `split_batch_norm` cut has so many parts."""
    norms = [child for child in module.modules() if isinstance(child, SplitBatchNorm1d)]
    before = [norm.parts for norm in norms]
    try:
        for norm in norms:
            norm.parts = parts
        yield
    finally:
        for norm, own in zip(norms, before, strict=True):
            norm.parts = own


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over (N, C) or (N, C, H, W) whose batch is that of all ranks together, each with N images.

    Averages and parameter names are `nn.BatchNorm2d`'s. For devices that `nn.SyncBatchNorm` refuses (CPU); equal to
    it and to one process with the whole batch, in value and gradient.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), found {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        mean, var, count = _batch_statistics(input, synchronized=True)
        self._update_averages(mean.detach(), var.detach(), count)
        return _normalize(input, mean, var, self.weight, self.bias, self.eps)

    @torch.no_grad()
    def _update_averages(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_((var * count / max(count - 1, 1)).to(self.running_var.dtype), self.momentum)


class SynchronizedBatchNormAct(SynchronizedBatchNorm):
    """The same, then the dropout and the activation that timm keeps inside some of its batch norms."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


class DeepMindBatchNorm(SynchronizedBatchNorm):
    """Batch norm over (N, C) or (N, C, H, W) with Haiku's running averages.

    The averages start at 0, hold the *biased* variance and are corrected for the start like Adam's:
    hidden <- 0.9 hidden + 0.1 batch; running = hidden / (1 - 0.9^n). One process unless `synchronized`.
    """

    hidden_mean: Tensor
    hidden_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=1e-5, momentum=0.1)
        self.synchronized = False
        self.register_buffer("hidden_mean", torch.zeros(num_features))
        self.register_buffer("hidden_var", torch.zeros(num_features))

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.synchronized:
            return super().forward(input)
        self._check_input_dim(input)
        self._update_averages(*_batch_statistics(input.detach(), synchronized=False))
        return functional.batch_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)

    @torch.no_grad()
    def _update_averages(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        dtype = self.hidden_mean.dtype
        self.hidden_mean.lerp_(mean.to(dtype), self.momentum)
        self.hidden_var.lerp_(var.to(dtype), self.momentum)
        self.num_batches_tracked += 1
        debias = self._debias()
        self.running_mean.copy_(self.hidden_mean / debias)
        self.running_var.copy_(self.hidden_var / debias)

    def _debias(self) -> Tensor:
        assert self.momentum is not None and self.num_batches_tracked is not None
        return 1 - (1 - self.momentum) ** self.num_batches_tracked.to(self.hidden_mean.dtype)

    @torch.no_grad()
    def set_newest_share(self, share: float) -> None:
        """Changes the share of the newest batch; the averages go on from where they are."""
        assert self.running_mean is not None and self.running_var is not None
        self.momentum = share
        self.hidden_mean.copy_(self.running_mean * self._debias())
        self.hidden_var.copy_(self.running_var * self._debias())


def batch_norm_2d(channels: int, conventions: Conventions = "torch") -> nn.Module:
    """Batch norm of (N, C, H, W) maps: epsilon 1e-5, averages of decay 0.9."""
    return nn.BatchNorm2d(channels) if conventions == "torch" else DeepMindBatchNorm(channels)


def batch_norm_1d(channels: int, conventions: Conventions = "torch") -> nn.Module:
    """Batch norm of (N, C) vectors: epsilon 1e-5, averages of decay 0.9."""
    return nn.BatchNorm1d(channels) if conventions == "torch" else DeepMindBatchNorm(channels)


def set_newest_share(module: nn.Module, share: float) -> nn.Module:
    """Sets, in place, the share of the newest batch (torch's momentum) in the averages of every batch norm."""
    for part in module.modules():
        if isinstance(part, DeepMindBatchNorm):
            part.set_newest_share(share)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = share
    return module


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """`module` with every batch norm over all ranks; same parameters, same names.

    On CUDA torch's own `nn.SyncBatchNorm` (timm's where it holds an activation); elsewhere, and for DeepMind's
    averages, the ones above.
    """
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm

    for name, child in module.named_children():
        setattr(module, name, synchronize_batch_norm(child))
    if isinstance(module, LocalBatchNorm1d | LocalBatchNorm2d):
        return module
    if isinstance(module, DeepMindBatchNorm):
        module.synchronized = True
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine and module.track_running_stats:
        if module.weight.is_cuda:
            return convert_sync_batchnorm(module)
        kind = SynchronizedBatchNormAct if isinstance(module, BatchNormAct2d) else SynchronizedBatchNorm
        made = kind(module.num_features, eps=module.eps, momentum=module.momentum)
        if isinstance(made, SynchronizedBatchNormAct):
            made.drop, made.act = module.get_submodule("drop"), module.get_submodule("act")
        made._parameters, made._buffers, made.training = module._parameters, module._buffers, module.training
        return made
    return module


def _batch_statistics(input: Tensor, *, synchronized: bool) -> tuple[Tensor, Tensor, int]:
    """(C,) mean, (C,) biased variance, and over how many values each; at least float32.

    Raises ValueError for one value per channel, as torch does: its variance is always 0.
    """
    dims = (0, 2, 3) if input.dim() == 4 else (0,)
    values = input if input.dtype == torch.float64 else input.float()
    var, mean = torch.var_mean(values, dim=dims, correction=0)
    count = input.numel() // input.shape[1]
    if synchronized:
        mean, var, num_ranks = over_ranks(mean, var)
        count *= num_ranks
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}")
    return mean, var, count


def over_ranks(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, int]:
    """(mean, biased variance) of all ranks' values together, from those of each, and the number of ranks."""
    means, variances = gather_with_gradient(torch.stack((mean, var))).unbind(1)
    mean = means.mean(dim=0)
    return mean, variances.mean(dim=0) + (means - mean).square().mean(dim=0), len(means)


def _normalize(input: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    shape = (1, -1, 1, 1) if input.dim() == 4 else (1, -1)
    scale = weight * torch.rsqrt(var + eps)
    shift = bias - mean * scale
    return (input * scale.view(shape) + shift.view(shape)).to(input.dtype)
