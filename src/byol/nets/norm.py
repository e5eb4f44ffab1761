"""Batch norm with torch's or DeepMind's (Haiku's) running averages, over one process or over all ranks."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.nets.replace_modules import replace_class, replace_modules
from byol.runtime.ranks import gather_with_gradient

Conventions = Literal["torch", "deepmind"]


class LocalBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (N, C) over this rank's batch, also when `synchronize_batch_norm` changes the others."""


class LocalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of (N, C, H, W) over this rank's batch, also when `synchronize_batch_norm` changes the others."""


class SplitBatchNorm1d(LocalBatchNorm1d):
    """Batch norm of (N, C) with separate statistics for `parts` parts of the batch, fewer if a part had under 2 rows."""

    parts: int = 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        parts = max(1, min(self.parts, len(input) // 2))
        return torch.cat([super(SplitBatchNorm1d, self).forward(part) for part in input.tensor_split(parts)])


def split_batch_norm(module: nn.Module, parts: int) -> int:
    """Replaces, in place, every plain 1d batch norm below `module` by one over `parts` parts; returns how many."""

    def split(norm: nn.Module) -> nn.Module | None:
        if type(norm) is not nn.BatchNorm1d:
            return None
        new = replace_class(norm, SplitBatchNorm1d)
        new.parts = parts
        return new

    return replace_modules(module, split)


@contextlib.contextmanager
def with_parts(module: nn.Module, *, parts: int) -> Iterator[None]:
    """Inside the block, every `SplitBatchNorm1d` in `module` uses `parts` parts."""
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
    """Batch norm over (N, C) or (N, C, H, W) with statistics over all ranks' batches, each of N images.

    Averages and parameter names are `nn.BatchNorm2d`'s. It serves devices that `nn.SyncBatchNorm` refuses (CPU) and
    equals it, and one process with the whole batch, in value and gradient.
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
    """`SynchronizedBatchNorm` followed by the dropout and activation that timm keeps inside some batch norms."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


class DeepMindBatchNorm(SynchronizedBatchNorm):
    """Batch norm over (N, C) or (N, C, H, W) with Haiku's running averages.

    The averages start at 0, hold the *biased* variance and are bias-corrected like Adam's:
    hidden <- 0.9 hidden + 0.1 batch; running = hidden / (1 - 0.9^n). Statistics are over this process's batch unless
    `synchronized`.
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
        """Sets the weight of the newest batch in the averages, in (0, 1]; the averages continue from their values."""
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
    """Sets, in place, the weight of the newest batch (torch's momentum) in every batch norm's averages."""
    for part in module.modules():
        if isinstance(part, DeepMindBatchNorm):
            part.set_newest_share(share)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = share
    return module


def synchronize_batch_norm(module: nn.Module) -> int:
    """Makes, in place, every batch norm below `module` one over all ranks, local ones aside; returns how many.

    Parameters and names stay. On CUDA they become torch's `nn.SyncBatchNorm` (timm's with an activation); elsewhere,
    and for DeepMind's averages, `SynchronizedBatchNorm`.
    """
    return replace_modules(module, _synchronized)


def _synchronized(norm: nn.Module) -> nn.Module | None:
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm

    if isinstance(norm, DeepMindBatchNorm):
        norm.synchronized = True
        return norm
    is_local = isinstance(norm, LocalBatchNorm1d | LocalBatchNorm2d)
    if is_local or not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        return None
    if not (norm.affine and norm.track_running_stats):
        return None
    if norm.weight.is_cuda:
        return convert_sync_batchnorm(norm)
    return replace_class(norm, SynchronizedBatchNormAct if isinstance(norm, BatchNormAct2d) else SynchronizedBatchNorm)


def _batch_statistics(input: Tensor, *, synchronized: bool) -> tuple[Tensor, Tensor, int]:
    """(C,) mean, (C,) biased variance, and the number of values per channel; at least float32.

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
