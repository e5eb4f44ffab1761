"""Distance of the predictor from its optimum, by which BYOL explains its lack of collapse (section 3.2, appendix I), and its spectrum."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.diagnostics.similarity import unit

SMALLEST_SHARE = 1e-9
"""Smallest share of the variance of a direction that counts in `predictor_exponent`; smaller ones are rounding."""


@dataclass(frozen=True)
class PredictorOptimality:
    """Mean squared distances between unit predictions and unit targets (BYOL equation 2), in [0, 4]."""

    actual: float
    """Distance of the network's predictor."""
    least_squares: float
    """Distance of the best linear map with a bias, fitted on the other half of the images."""
    constant: float
    """Distance of the other half's mean target: a prediction that ignores the image."""

    @property
    def ratio(self) -> float:
        """Actual over least squares: up to about 1 the predictor is as good as the best linear map, or better."""
        return self.actual / max(self.least_squares, 1e-12)


@torch.no_grad()
def predictor_optimality(projection: Tensor, prediction: Tensor, target: Tensor) -> PredictorOptimality:
    """Compares predictions with the least-squares predictor Q* (appendix I), fitted from projections to unit targets.

    The three (N, D) matrices have one row per image, in the same random order, N > 2 (D + 1). Q* is fitted on the even
    rows and evaluated on the odd ones, and vice versa, so that it does not fit noise. Arithmetic is in float64.
    """
    inputs, predicted, wanted = (m.detach().cpu().double() for m in (projection, prediction, target))
    inputs = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), dim=1)
    wanted = unit(wanted)
    linear, constant = torch.empty_like(wanted), torch.empty_like(wanted)
    for fitted, out in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        linear[out] = inputs[out] @ torch.linalg.lstsq(inputs[fitted], wanted[fitted], driver="gelsd").solution
        constant[out] = wanted[fitted].mean(dim=0)

    def residual(guess: Tensor) -> float:
        return float((unit(guess) - wanted).square().sum(dim=1).mean())

    return PredictorOptimality(residual(predicted), residual(linear), residual(constant))


@torch.no_grad()
def measure_linear_predictor(matrix: Tensor, projection: Tensor) -> dict[str, float]:
    """Measures of a linear predictor P, (D, D) with predictions Z P, and of the correlation F = ZᵀZ / N of (N, D) projections.

    u_j and s_j are eigenvectors and eigenvalues of F, p_j = u_jᵀ P u_j.

    - `predictor_alignment`: mean cosine of u_j and its prediction, weighted by s_j, in [-1, 1]. 1: the two matrices have the
      same eigenvectors (Tian et al. 2021, figure 2; the weights differ from the paper, since a batch does not determine the
      directions of small eigenvalues).
    - `predictor_asymmetry`: |P - Pᵀ| / |P|, Frobenius norms, in [0, 2]. 0: symmetric; 1.41: of random entries.
    - `predictor_exponent`: slope of ln p_j against ln s_j, weighted by s_j, over positive p_j. 0.5: P is the root of F (Tian et
      al.); 0: an orthogonal projection (Richemond et al. 2023).
    - `predictor_stable_rank`: |P|² / (largest singular value)², Frobenius norm, from 1 to D.

    Arithmetic is in float64. Empty if an entry is not finite or F is zero.
    """
    p, z = matrix.detach().cpu().double(), projection.detach().cpu().double()
    if not bool(p.isfinite().all() and z.isfinite().all() and p.any() and z.any()):
        return {}
    _, singular, directions = torch.linalg.svd(z, full_matrices=False)
    eigenvalues, size = singular.square() / len(z), p.norm()
    predicted = directions @ p
    diagonal = (predicted * directions).sum(dim=1)
    share = eigenvalues / eigenvalues.sum()
    kept = (diagonal > 0) & (share > SMALLEST_SHARE)
    return {
        "predictor_alignment": float((share * diagonal / predicted.norm(dim=1).clamp_min(1e-300)).sum()),
        "predictor_asymmetry": float((p - p.T).norm() / size),
        "predictor_exponent": _slope(eigenvalues[kept].log(), diagonal[kept].log(), share[kept]),
        "predictor_stable_rank": float((size / torch.linalg.matrix_norm(p, 2)).square()),
    }


def _slope(x: Tensor, y: Tensor, weights: Tensor) -> float:
    """Slope of the weighted least-squares line through (N,) points; NaN for fewer than two values of x."""
    weights = weights / weights.sum()
    x = x - (weights * x).sum()
    spread = (weights * x.square()).sum()
    return float((weights * x * y).sum() / spread) if len(x) > 1 and spread > 1e-12 else math.nan
