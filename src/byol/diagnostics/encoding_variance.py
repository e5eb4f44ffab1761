"""How much the encodings of one image vary over its views (Wang et al. 2022, asymmetry of source and target)."""

import torch
from torch import Tensor

from byol.diagnostics.similarity import unit


@torch.no_grad()
def encoding_variance(views: Tensor) -> float:
    """Mean over images of the mean squared distance of unit encodings (N, M, D) to their image's mean: in [0, 1].

    Equals 1 - mean |mean of the unit encodings|^2. M from 8 on makes the estimate useful.
    """
    encodings = unit(views)
    return float((encodings - encodings.mean(dim=1, keepdim=True)).square().sum(dim=-1).mean())
