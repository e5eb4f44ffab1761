"""Closed-form predictors: a linear map computed from the projections' correlation takes the place of a trained predictor.

Z and Z' are (N, D) online and target projections, one row per view of an image; F = ZᵀZ / N and C = ZᵀZ' / N, not
centred. A predictor is a (D, D) map P with predictions Z P.

| name | P, up to its scale | source |
| --- | --- | --- |
| directset | F^power, F a moving average | Wang et al. 2021 (2110.04947) |
| directpred | power 1/2 | Tian et al. 2021 (2102.06810), equations 18 and 19 |
| directcopy | power 1 | Wang et al. 2021 |
| neumann | 2 C - F C, of unit rows | Richemond et al. 2023 (2302.04817), as all below |
| visser | F^1/2 by Visser's iteration | |
| newton-schulz | F^1/2 by Newton and Schulz's iteration | |
| newton-schulz-2 | F^1/4, that iteration twice | |
| stiefel | (FᵀF)^-1/2 Fᵀ by that iteration | |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol.methods.contrastive import Gather, alone
from byol.methods.losses import at_least_float32, l2_normalize

ROOT_ITERATIONS, QUARTER_ITERATIONS = 9, 7
"""Numbers of Newton-Schulz iterations for one root, and for each of two in a row (Richemond et al. 2023)."""
VISSER_ITERATIONS = 48
"""Number of Visser's iterations; the source says dozens."""
NORM_SQUARINGS = 12
"""Number of squarings by which `spectral_norm` finds the largest singular value."""


def power(correlation: Tensor, exponent: float) -> Tensor:
    """(D, D) correlation to a power, by eigendecomposition unless the exponent is 1; negative eigenvalues count as 0.

    Every entry is NaN if the decomposition fails, as it does for an entry that is not finite.
    """
    if exponent == 1:
        return correlation
    try:
        values, vectors = torch.linalg.eigh(correlation)
    except torch.linalg.LinAlgError:
        return torch.full_like(correlation, math.nan)
    return (vectors * values.clamp_min(0) ** exponent) @ vectors.T


def newton_schulz(matrix: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """(square root of a symmetric positive (D, D) matrix, inverse square root of the matrix over its Frobenius norm).

    Directions with an eigenvalue far below that norm are not reached in few iterations: 9 give 0.87 of the root for an
    eigenvalue of 0.001 times the norm.
    """
    norm = matrix.norm()
    root, three = matrix / norm, 3 * _identity(matrix)
    inverse = _identity(matrix)
    for _ in range(iterations):
        step = (three - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return norm.sqrt() * root, inverse


def visser(matrix: Tensor, iterations: int) -> Tensor:
    """Square root of a symmetric positive (D, D) matrix over its Frobenius norm, from above: P <- P + (F - P²) / 2 from P = 1.

    The rate 1/2 is the largest at which no eigenvalue overshoots. Eigenvalues near 0 end near 2 / (iterations + 2).
    """
    matrix = matrix / matrix.norm()
    root = _identity(matrix)
    for _ in range(iterations):
        root = root + (matrix - root @ root) / 2
    return root


def stiefel(matrix: Tensor, iterations: int) -> Tensor:
    """(MᵀM)^-1/2 Mᵀ of a (D, D) matrix, up to its scale: the polar factor where an eigenvalue is well above 0."""
    return newton_schulz(matrix.T @ matrix, iterations)[1] @ matrix.T


def spectral_norm(matrix: Tensor) -> Tensor:
    """Largest singular value of a (D, D) matrix, a scalar, by squaring MᵀM; too large by at most 0.1 % for D up to 4096.

    A device is not waited for, as an eigendecomposition would.
    """
    gram = matrix.T @ matrix
    logarithm, weight = gram.new_zeros(()), 1.0
    for _ in range(NORM_SQUARINGS):
        norm = gram.norm()
        logarithm = logarithm + weight * norm.log()
        gram = gram / norm
        gram, weight = gram @ gram, weight / 2
    return ((logarithm + weight * gram.norm().log()) / 2).exp()


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)


@dataclass(frozen=True)
class ClosedForm:
    """One closed-form predictor."""

    solve: Callable[[Tensor, Tensor], Tensor]
    """Function (F, C) -> P, each (D, D), up to the scale of P."""
    averages_map: bool
    """Whether the moving average is of P, else of F."""
    of_units: bool = False
    """Whether F and C are of projections of unit length."""


def directset(exponent: float) -> ClosedForm:
    """DirectSet: a power of the moving correlation. DirectPred has 1/2, DirectCopy 1."""
    return ClosedForm(lambda f, c: power(f, exponent), averages_map=False)


CLOSED_FORMS = {
    "directpred": directset(0.5),
    "directcopy": directset(1.0),
    "neumann": ClosedForm(lambda f, c: 2 * c - f @ c, averages_map=True, of_units=True),
    "visser": ClosedForm(lambda f, c: visser(f, VISSER_ITERATIONS), averages_map=True),
    "newton-schulz": ClosedForm(lambda f, c: newton_schulz(f, ROOT_ITERATIONS)[0], averages_map=True),
    "newton-schulz-2": ClosedForm(
        lambda f, c: newton_schulz(newton_schulz(f, QUARTER_ITERATIONS)[0], QUARTER_ITERATIONS)[0], averages_map=True
    ),
    "stiefel": ClosedForm(lambda f, c: stiefel(f, ROOT_ITERATIONS), averages_map=True),
}
"""Closed-form predictors without a setting of their own, by name."""


class ClosedFormPredictor(nn.Module):
    """Linear predictor P / |P| + ridge, set after every step from the correlation of the step's projections.

    |P| is the largest singular value, so that `ridge` does not depend on the length of projections. The correlation is
    that of both views of all images of the step, over micro-batches and ranks. Its moving average, or that of P / |P|, keeps
    `average` of the old value at each step and starts with the first step's. No gradient reaches P.

    Differs from the papers: P of a step is used in the next one, for all forms (as in DirectPred's code; the others do not
    say), and the first step has P = 1 (a random map there). The papers' ridges for the forms of Richemond et al. and their
    rate of the average are relative to unpublished scales or not published.
    """

    average: Tensor
    matrix: Tensor
    num_updates: Tensor
    correlation: Tensor
    cross: Tensor
    num_rows: Tensor

    def __init__(self, dimension: int, form: ClosedForm, *, average: float, ridge: float) -> None:
        super().__init__()
        self.form, self.keep, self.ridge = form, average, ridge
        self.register_buffer("average", torch.zeros(dimension, dimension))
        self.register_buffer("matrix", torch.eye(dimension))
        self.register_buffer("num_updates", torch.zeros(()))
        for name in ("correlation", "cross"):
            self.register_buffer(name, torch.zeros(dimension, dimension), persistent=False)
        self.register_buffer("num_rows", torch.zeros(()), persistent=False)

    def forward(self, projection: Tensor) -> Tensor:
        """(N, D) projections -> (N, D) predictions."""
        return projection @ self.matrix.to(projection.dtype)

    @torch.no_grad()
    def observe(self, projections: Tensor, targets: Tensor, gather: Gather = alone) -> None:
        """Adds this rank's (N, D) online projections and the targets of the same rows to the step's correlation."""
        with torch.autocast(projections.device.type, enabled=False):
            z, targets = (gather(at_least_float32(rows))[0] for rows in (projections, targets))
            if self.form.of_units:
                z, targets = l2_normalize(z), l2_normalize(targets)
            self.correlation += z.T @ z
            self.cross += z.T @ targets
            self.num_rows += len(z)

    @torch.no_grad()
    def update(self) -> None:
        """Sets the map from what was observed since the last update."""
        correlation, cross = self.correlation / self.num_rows, self.cross / self.num_rows
        new_share = torch.where(self.num_updates > 0, 1 - self.keep, 1.0).to(self.average)
        if self.form.averages_map:
            new = self.form.solve(correlation, cross)
            self.average.lerp_(new / spectral_norm(new), new_share)
            self.matrix.copy_(self.average)
        else:
            self.average.lerp_(correlation, new_share)
            new = self.form.solve(self.average, cross)
            self.matrix.copy_(new / spectral_norm(new))
        self.matrix.diagonal().add_(self.ridge)
        self.num_updates += 1
        for observed in (self.correlation, self.cross, self.num_rows):
            observed.zero_()
