"""Distance of the predictor from its optimum, by which BYOL explains its lack of collapse (section 3.2, appendix I)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.diagnostics.similarity import unit


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
