"""A linear probe on cached features: multinomial logistic regression by L-BFGS.

The paper's for transfer (`evaluate.linear_fast`); for linear evaluation it trains by SGD (`evaluate.linear_sgd`).
Features are centred and divided by one number, their overall scale; the L2 strength is chosen on a part of the
training images (or by cross-validation where there are few), then the probe is fitted to all of them. Images with
several labels each get one logistic regression per class, all of one strength.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.data.subset import held_out
from byol.evaluate.metrics import mean_average_precision_11_point

STRENGTHS = tuple(10.0**exponent for exponent in range(0, -5, -1))
"""L2 strengths tried, strong to weak, so that each fit starts from the one before."""
MAX_ITERATIONS = 100
TOLERANCE = 1e-4
"""Largest gradient at which a fit ends, where the curvature is about 1: the objective is then within about 1e-3."""
CURVATURE = 0.1
"""About p (1 - p) of a class among ten: the Hessian is near CURVATURE * covariance + strength, which scales the fit.
The bias has no strength in it."""


Split = tuple[np.ndarray, np.ndarray]
"""(kept, held out) indices."""
Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(C, N) logits -> (mean loss, N times its gradient); may overwrite the logits."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe."""

    weight: Tensor
    """(D + 1, num_classes), the bias in the last row."""
    mean: Tensor
    scale: Tensor
    basis: Tensor
    """(D, D) principal axes of the training features, by columns."""
    strength: float
    validation: tuple[float, ...]
    """Accuracy (of several labels: mean average precision) in percent of each strength on the images held out."""

    def predict(self, features: Tensor) -> Tensor:
        """(M,) predicted classes of (M, D) features."""
        return self.scores(features).argmax(dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """(M, num_classes) logits of (M, D) features."""
        return self.inputs(features) @ self.weight

    def inputs(self, features: Tensor) -> Tensor:
        """(M, D + 1): centred, scaled, rotated to the principal axes, and a one."""
        return _with_ones(((features - self.mean) / self.scale) @ self.basis)


def fit_linear(
    features: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
    folds: int = 1,
    validation_share: float = 0.2,
    split: Split | None = None,
) -> LinearProbe:
    """Fits to (N, D) features and (N,) labels, or (N, C) of 1, -1 and 0 (unknown) where an image has several.

    `strengths` go from strong to weak; the strength is chosen on `split` (kept, held out), a share of the images or,
    with `folds` > 1, by cross-validation; then all are fitted.

    The features are rotated to their principal axes, which changes neither objective nor optimum, so that each axis
    can be fitted at its own scale: a few dozen steps in place of hundreds.
    """
    mean = features.mean(dim=0)
    scale = (features - mean).square().mean().sqrt().clamp_min(1e-12)
    centred = (features - mean) / scale
    basis, variance = principal_axes(centred)
    inputs = _with_ones(centred @ basis)
    reached = torch.zeros(len(strengths))
    splits = [split] if split else _splits(labels.cpu().numpy(), folds, seed, validation_share)
    num_classes = int(labels.max()) + 1 if labels.dim() == 1 else labels.shape[1]
    for kept, out in splits:
        for number, weight in enumerate(path(inputs[kept], labels[kept], num_classes, strengths, variance)):
            reached[number] += _quality(inputs[out] @ weight, labels[out])
    best = int(reached.argmax())
    weight = path(inputs, labels, num_classes, strengths[: best + 1], variance)[-1]
    validation = tuple((100 * reached / len(splits)).tolist())
    return LinearProbe(weight, mean, scale, basis, strengths[best], validation)


def _quality(scores: Tensor, labels: Tensor) -> float:
    if labels.dim() == 2:
        return mean_average_precision_11_point(scores, labels)
    return float(scores.argmax(dim=1).eq(labels).float().mean())


def principal_axes(centred: Tensor) -> tuple[Tensor, Tensor]:
    """((D, D) axes by columns, (D + 1,) variance along each, then that of the ones) of (N, D) centred features."""
    covariance = centred.T @ centred / len(centred)
    try:
        spread, basis = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:  # in float32, where many variances are equal
        spread, basis = (part.to(covariance.dtype) for part in torch.linalg.eigh(covariance.double()))
    return basis, torch.cat((spread.clamp_min(0), spread.new_ones(1)))


def path(
    inputs: Tensor, labels: Tensor, num_classes: int, strengths: tuple[float, ...], variance: Tensor
) -> list[Tensor]:
    """(D + 1, num_classes) weights for each strength, each fit started from the one before.

    `inputs` are (N, D + 1): features along their principal axes, and a one.
    """
    columns = inputs.T.contiguous()
    loss = _cross_entropy(labels) if labels.dim() == 1 else _logistic(labels)
    weight, weights = torch.zeros(num_classes, len(columns), device=inputs.device), []
    for strength in strengths:
        weight = _fit(columns, loss, weight, strength, variance)
        weights.append(weight.T)
    return weights


def _splits(labels: np.ndarray, folds: int, seed: int, share: float) -> list[tuple[np.ndarray, np.ndarray]]:
    if folds == 1:
        return [held_out(labels, share, seed)]
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        fold[members] = np.arange(len(members)) % folds
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds)]


def _cross_entropy(labels: Tensor) -> Loss:
    """Of (N,) labels."""
    image = torch.arange(len(labels), device=labels.device)

    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        log_shares = logits.log_softmax(dim=0)
        value = -log_shares[labels, image].mean()
        residual = log_shares.exp_()
        residual[labels, image] -= 1
        return value, residual

    return loss


def _logistic(labels: Tensor) -> Loss:
    """The sum over the classes of the logistic losses of (N, C) labels in 1, -1 and 0, which counts for nothing."""
    signs = labels.T.float().contiguous()

    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        value = (signs.abs() * functional.softplus(-signs * logits)).sum() / signs.shape[1]
        return value, -signs * (-signs * logits).sigmoid()

    return loss


def _fit(columns: Tensor, loss: Loss, start: Tensor, strength: float, variance: Tensor) -> Tensor:
    """Minimises the loss + strength / 2 |W|^2, the bias free, over (C, D + 1) weights, for (D + 1, N) columns.

    Classes stand in rows and images in columns, since products with ten columns are several times slower; the gradient
    is written out.
    """
    decay = torch.full_like(variance, strength)
    decay[-1] = 0  # of the bias
    scale = (CURVATURE * variance + decay).sqrt()
    scaled = nn.Parameter(start * scale)
    optimizer = torch.optim.LBFGS(
        [scaled],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-9,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def objective() -> Tensor:
        weight = scaled / scale
        value, residual = loss(weight @ columns)
        scaled.grad = (residual @ columns.T / columns.shape[1] + decay * weight) / scale
        return value + (decay * weight.square()).sum() / 2

    optimizer.step(objective)  # pyright: ignore[reportArgumentType]
    return scaled.detach() / scale


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat((features, features.new_ones(len(features), 1)), dim=1)
