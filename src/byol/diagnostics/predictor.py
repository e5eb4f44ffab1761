"""Is the predictor near its optimum? The paper's account of why BYOL does not collapse (section 3.2, appendix I)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from byol.diagnostics.similarity import unit


@dataclass(frozen=True)
class PredictorOptimality:
    """Mean squared distances to the unit target, each of unit predictions (BYOL equation 2), in [0, 4]."""

    actual: float
    """Of the network's predictor."""
    least_squares: float
    """Of the best linear map with a bias, fitted on the other half of the images."""
    constant: float
    """Of the other half's mean target: what ignoring the image gives."""

    @property
    def ratio(self) -> float:
        """Actual over least squares: up to about 1 the predictor is near-optimal or better than any linear one."""
        return self.actual / max(self.least_squares, 1e-12)


@torch.no_grad()
def predictor_optimality(projection: Tensor, prediction: Tensor, target: Tensor) -> PredictorOptimality:
    """Compares predictions with the least-squares predictor Q* (appendix I), fitted from projections to unit targets.

    Three (N, D) matrices, rows of one image alike, in no particular order, N > 2 (D + 1). Fitted on the even rows and
    judged on the odd ones, and the other way round, so that it does not fit noise. Float64 inside.
    """
    inputs, predicted, wanted = (m.detach().cpu().double() for m in (projection, prediction, target))
    inputs = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), dim=1)
    wanted = unit(wanted)
    linear, constant = torch.empty_like(wanted), torch.empty_like(wanted)
    for kept, out in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        linear[out] = inputs[out] @ torch.linalg.lstsq(inputs[kept], wanted[kept], driver="gelsd").solution
        constant[out] = wanted[kept].mean(dim=0)

    def residual(guess: Tensor) -> float:
        return float((unit(guess) - wanted).square().sum(dim=1).mean())

    return PredictorOptimality(residual(predicted), residual(linear), residual(constant))
