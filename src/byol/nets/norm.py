"""Batch norm as torch or as DeepMind (Haiku) keeps its averages."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Conventions = Literal["torch", "deepmind"]


class DeepMindBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over (N, C) or (N, C, H, W) with Haiku's running averages.

    The averages start at 0, hold the *biased* variance and are corrected for the start like Adam's:
    hidden <- 0.9 hidden + 0.1 batch; running = hidden / (1 - 0.9^n).
    """

    hidden_mean: Tensor
    hidden_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=1e-5, momentum=0.1)
        self.register_buffer("hidden_mean", torch.zeros(num_features))
        self.register_buffer("hidden_var", torch.zeros(num_features))

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), found {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if self.training:
            self._update_averages(input.detach())
            return functional.batch_norm(input, None, None, self.weight, self.bias, True, 0.0, self.eps)
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

    @torch.no_grad()
    def _update_averages(self, input: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        dims = (0, 2, 3) if input.dim() == 4 else (0,)
        values = input.to(self.hidden_mean.dtype)
        var, mean = torch.var_mean(values, dim=dims, correction=0)
        self.hidden_mean.lerp_(mean, 0.1)
        self.hidden_var.lerp_(var, 0.1)
        self.num_batches_tracked += 1
        debias = 1 - 0.9 ** self.num_batches_tracked.to(self.hidden_mean.dtype)
        self.running_mean.copy_(self.hidden_mean / debias)
        self.running_var.copy_(self.hidden_var / debias)


def batch_norm_2d(channels: int, conventions: Conventions = "torch") -> nn.Module:
    """Batch norm of (N, C, H, W) maps: epsilon 1e-5, averages of decay 0.9."""
    return nn.BatchNorm2d(channels) if conventions == "torch" else DeepMindBatchNorm(channels)


def batch_norm_1d(channels: int, conventions: Conventions = "torch") -> nn.Module:
    """Batch norm of (N, C) vectors: epsilon 1e-5, averages of decay 0.9."""
    return nn.BatchNorm1d(channels) if conventions == "torch" else DeepMindBatchNorm(channels)
