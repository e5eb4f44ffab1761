"""Losses as functions of a batch of vectors; float32 inside unless given float64."""

import torch
from torch import Tensor
from torch.nn import functional

NORM_CLAMP = 1e-6  # DeepMind: x * rsqrt(max(sum x^2, 1e-12))


def l2_normalize(vectors: Tensor) -> Tensor:
    """(N, D) vectors of length 1; a length below 1e-6 counts as 1e-6."""
    return functional.normalize(_at_least_float32(vectors), dim=-1, eps=NORM_CLAMP)


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """(N,) squared distances of the unit vectors, 2 - 2 cos, in [0, 4] (BYOL equation 2)."""
    return (l2_normalize(prediction) - l2_normalize(target)).square().sum(dim=-1)


def byol_loss(prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    """The mean over the batch of both directions' sum, in [0, 8]; about 4 for unrelated vectors (BYOL section 3.1).

    `prediction1` is q(z) of view 1 and is compared with `target2`, the target's projection of view 2, and the
    other way round. No gradient flows into the targets.
    """
    return (regression_loss(prediction1, target2.detach()) + regression_loss(prediction2, target1.detach())).mean()


def _at_least_float32(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()
