"""All measures of a set of encodings by name, as `byol diagnose` prints and writes them."""

import math
from dataclasses import asdict

from torch import Tensor

from byol.diagnostics.encoding_variance import encoding_variance
from byol.diagnostics.predictor import predictor_optimality
from byol.diagnostics.similarity import alignment, cosines, std_ratio, uniformity, unit
from byol.diagnostics.spectrum import alpha_req, effective_rank, lidar, rankme

ENCODING_MEASURES = (
    *("std_ratio", "effective_rank", "rankme", "alpha_req", "lidar", "positive_cosine", "negative_cosine"),
    *("alignment", "uniformity", "encoding_variance"),
)


def measure_encodings(views: Tensor) -> dict[str, float]:
    """Every measure of (N, M, D) encodings of M >= 2 views of N images; measures of two views use the first two.

    A measure is NaN if there are too few images or dimensions for it, or if an encoding is not finite. Arithmetic is in
    float64.
    """
    count, _, dimension = views.shape
    if not bool(views.isfinite().all()):
        return {**dict.fromkeys(ENCODING_MEASURES, math.nan), "dimensions": float(dimension)}
    first, second = views[:, 0].cpu().double(), views[:, 1].cpu().double()
    positive, negative = cosines(first, second)
    return {
        "std_ratio": std_ratio(first),
        "effective_rank": effective_rank(first),
        "rankme": rankme(first),
        "alpha_req": alpha_req(first),
        "lidar": lidar(views) if count > dimension else math.nan,
        "positive_cosine": positive,
        "negative_cosine": negative,
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "encoding_variance": encoding_variance(views.cpu().double()),
        "dimensions": float(dimension),
    }


def measure_step(projection: Tensor, target: Tensor) -> dict[str, float]:
    """Measures logged in training beside those of the collapse check, from (N, D) online projections of one view and target projections of the other.

    They are logged during training; `measure_encodings` has those that need more than two views. Empty if a projection
    is not finite.
    """
    first, second = projection.cpu().float(), target.cpu().float()
    if not bool(first.isfinite().all() and second.isfinite().all()):
        return {}
    return {
        "rankme": rankme(first),
        "alpha_req": alpha_req(first),
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
    }


def measure_networks(projection: Tensor, target: Tensor) -> dict[str, float]:
    """Measures that compare online and target projections, both (N, M, D) of the same views.

    The source variance is the online projection's, the target variance the target network's. The rank is that of unit
    online projections, as in the collapse watch.
    """
    positive, negative = cosines(projection[:, 0].cpu().double(), target[:, 1].cpu().double())
    is_finite = bool(projection.isfinite().all())
    source = encoding_variance(projection.cpu().double())
    other = encoding_variance(target.cpu().double())
    return {
        "positive_cosine": positive,
        "negative_cosine": negative,
        "unit_effective_rank": effective_rank(unit(projection[:, 0].cpu().double())) if is_finite else math.nan,
        "source_variance": source,
        "target_variance": other,
        "variance_ratio": other / source if source > 0 else math.nan,
    }


def measure_predictor(projection: Tensor, prediction: Tensor, target: Tensor) -> dict[str, float]:
    """The predictor's error against its optimum's, from (N, M, D) of the same views: q(z) of view 1, z' of view 2."""
    is_finite = all(bool(part.isfinite().all()) for part in (projection, prediction, target))
    if not is_finite or len(projection) <= 2 * (projection.shape[-1] + 1):
        return dict.fromkeys(("actual", "least_squares", "constant", "ratio"), math.nan)
    optimality = predictor_optimality(projection[:, 0], prediction[:, 0], target[:, 1])
    return {**asdict(optimality), "ratio": optimality.ratio}
