"""A linear probe on cached features: multinomial logistic regression by L-BFGS.

The paper uses it for transfer (`protocols.linear_fast`), and SGD for linear evaluation (`protocols.linear_sgd`).
Features are centred and divided by their overall scale, one number. The L2 strength is chosen on held-out training
images or by cross-validation; then the probe is fitted to all training images. If images have several labels, each
class gets its own logistic regression, all with the same strength.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.data.subset import held_out
from byol.evaluate.metrics import mean_average_precision_11_point
from byol.runtime.threads import tuned_threads

STRENGTHS = tuple(10.0**exponent for exponent in range(0, -5, -1))
"""L2 strengths to try, strong to weak; each fit starts from the previous one's weights."""
MAX_ITERATIONS = 100
TOLERANCE = 1e-4
"""Largest gradient at which a fit ends. The curvature is scaled to about 1, so the objective is then accurate to 1e-3."""
CURVATURE = 0.1
"""Approximate p (1 - p) for one class of ten. The Hessian is near CURVATURE * covariance + strength (no strength for the
bias), and the fit is scaled by it."""

Indices = tuple[np.ndarray, np.ndarray]
"""(fitted, held out) indices of images."""
Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Loss function: (C, N) logits -> (mean loss, N times its gradient). It may overwrite the logits."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear probe."""

    weight: Tensor
    """(D + 1, num_classes) weights; the last row is the bias."""
    mean: Tensor
    """(D,) mean of the training features."""
    scale: Tensor
    """Scalar: overall standard deviation of the training features."""
    basis: Tensor
    """(D, D) principal axes of the training features, as columns."""
    strength: float
    """L2 strength that did best on the held-out images."""
    validation: tuple[float, ...]
    """Accuracy on the held-out images for each strength tried, in percent; with several labels, mean average precision."""

    def predict(self, features: Tensor) -> Tensor:
        """(M,) predicted classes of (M, D) features."""
        return self.scores(features).argmax(dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """(M, num_classes) logits of (M, D) features."""
        return self.inputs(features) @ self.weight

    def inputs(self, features: Tensor) -> Tensor:
        """(M, D + 1) inputs of the linear layer: features centred, scaled and rotated to the principal axes, and a one."""
        return _with_ones(((features - self.mean) / self.scale) @ self.basis)


def fit_linear(
    features: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
    folds: int = 1,
    validation_share: float = 0.2,
    split: Indices | None = None,
) -> LinearProbe:
    """Probe fitted to (N, D) features and (N,) labels, or (N, C) labels of 1, -1 and 0 (unknown) if images have several.

    `strengths` go from strong to weak. The strength is chosen on the given `split`, on a fraction `validation_share` of
    the images or, with `folds` > 1, by cross-validation; then the probe is fitted to all images.

    The features are rotated to their principal axes, so that each axis can be fitted at its own scale: a few dozen steps
    instead of hundreds. The rotation changes neither objective nor optimum.
    """
    mean = features.mean(dim=0)
    scale = (features - mean).square().mean().sqrt().clamp_min(1e-12)
    centred = (features - mean) / scale
    basis, variance = principal_axes(centred)
    inputs = _with_ones(centred @ basis)
    quality = torch.zeros(len(strengths))
    splits = [split] if split else _splits(labels.cpu().numpy(), folds, seed, validation_share)
    num_classes = int(labels.max()) + 1 if labels.dim() == 1 else labels.shape[1]
    for fitted, out in splits:
        for number, weight in enumerate(path(inputs[fitted], labels[fitted], num_classes, strengths, variance)):
            quality[number] += _quality(inputs[out] @ weight, labels[out])
    best = int(quality.argmax())
    weight = path(inputs, labels, num_classes, strengths[: best + 1], variance)[-1]
    validation = tuple((100 * quality / len(splits)).tolist())
    return LinearProbe(weight, mean, scale, basis, strengths[best], validation)


def _quality(scores: Tensor, labels: Tensor) -> float:
    if labels.dim() == 2:
        return mean_average_precision_11_point(scores, labels)
    return float(scores.argmax(dim=1).eq(labels).float().mean())


def principal_axes(centred: Tensor) -> tuple[Tensor, Tensor]:
    """((D, D) principal axes as columns, (D + 1,) variances along them and 1 for the bias) of (N, D) centred features."""
    covariance = centred.T @ centred / len(centred)
    try:
        spread, basis = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:
        spread = basis = torch.full_like(covariance, torch.nan)
    if not bool(
        basis.isfinite().all()
    ):  # in float32, if many variances are equal or the features are constant but for rounding
        spread, basis = (part.to(covariance.dtype) for part in torch.linalg.eigh(covariance.double()))
    return basis, torch.cat((spread.clamp_min(0), spread.new_ones(1)))


def path(
    inputs: Tensor, labels: Tensor, num_classes: int, strengths: tuple[float, ...], variance: Tensor
) -> list[Tensor]:
    """(D + 1, num_classes) weights for each strength; each fit starts from the previous one's weights.

    `inputs` are (N, D + 1): features along their principal axes, and a one.
    """
    columns = inputs.T.contiguous()
    loss = _cross_entropy(labels) if labels.dim() == 1 else _logistic(labels)
    weight, weights = torch.zeros(num_classes, len(columns), device=inputs.device), []
    with tuned_threads(inputs.device) as tuner:
        for strength in strengths:
            weight = _fit(columns, loss, weight, strength, variance)
            weights.append(weight.T)
            tuner.check()
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
    """Cross-entropy with (N,) labels."""
    image = torch.arange(len(labels), device=labels.device)

    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        log_shares = logits.log_softmax(dim=0)
        value = -log_shares[labels, image].mean()
        residual = log_shares.exp_()
        residual[labels, image] -= 1
        return value, residual

    return loss


def _logistic(labels: Tensor) -> Loss:
    """Sum over the classes of logistic losses with (N, C) labels in 1, -1 and 0 (unknown, no loss)."""
    signs = labels.T.float().contiguous()

    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        value = (signs.abs() * functional.softplus(-signs * logits)).sum() / signs.shape[1]
        return value, -signs * (-signs * logits).sigmoid()

    return loss


def _fit(columns: Tensor, loss: Loss, start: Tensor, strength: float, variance: Tensor) -> Tensor:
    """(C, D + 1) weights that minimise loss + strength / 2 |W|^2 for (D + 1, N) columns; the bias has no penalty.

    Rows are classes and columns are images, because matrix products with only ten columns are several times slower.
    """
    decay = torch.full_like(variance, strength)
    decay[-1] = 0  # no penalty on the bias
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
