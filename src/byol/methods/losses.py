"""Losses of a batch of vectors, computed in float32, or in float64 for float64 vectors."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LossNormalization = Literal["l2", "layer", "batch", "none"]

NORM_CLAMP = 1e-6
"""Smallest length a vector is divided by. DeepMind: x * rsqrt(max(sum x^2, 1e-12))."""


def l2_normalize(vectors: Tensor) -> Tensor:
    """(N, D) vectors divided by their length, which counts as 1e-6 if it is smaller."""
    return functional.normalize(at_least_float32(vectors), dim=-1, eps=NORM_CLAMP)


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """(N,) squared distances of the unit vectors, 2 - 2 cos, in [0, 4] (BYOL equation 2)."""
    return (l2_normalize(prediction) - l2_normalize(target)).square().sum(dim=-1)


def byol_loss(prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    """Sum of both directions, mean over the batch, in [0, 8]; about 4 for unrelated vectors (BYOL section 3.1).

    `prediction1`, q(z) of view 1, is compared with `target2`, the target's projection of view 2; `prediction2` with
    `target1`. No gradient flows into the targets.
    """
    return (regression_loss(prediction1, target2.detach()) + regression_loss(prediction2, target1.detach())).mean()


def normalized_loss(
    prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor, normalization: LossNormalization
) -> Tensor:
    """`byol_loss` with another normalisation of the vectors (BYOL Table 20); the targets receive gradients."""

    def distance(prediction: Tensor, target: Tensor) -> Tensor:
        difference = normalize_vectors(prediction, normalization) - normalize_vectors(target, normalization)
        return difference.square().sum(dim=-1)

    return (distance(prediction1, target2) + distance(prediction2, target1)).mean()


def normalize_vectors(vectors: Tensor, normalization: LossNormalization) -> Tensor:
    """Normalised (N, D) vectors: length 1 (l2), or standardised per vector (layer) or dimension (batch), over sqrt(D)."""
    values = at_least_float32(vectors)
    if normalization == "l2":
        return l2_normalize(values)
    if normalization == "layer":
        return functional.layer_norm(values, values.shape[-1:]) * values.shape[-1] ** -0.5
    if normalization == "batch":
        return functional.batch_norm(values, None, None, training=True) * values.shape[-1] ** -0.5
    return values


def simsiam_loss(prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    """Mean negative cosine of both directions, in [-1, 1] (SimSiam equation 2); the targets receive gradients."""
    cosine = (l2_normalize(prediction1) * l2_normalize(target2)).sum(dim=-1)
    other = (l2_normalize(prediction2) * l2_normalize(target1)).sum(dim=-1)
    return -0.5 * (cosine + other).mean()


def at_least_float32(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()
