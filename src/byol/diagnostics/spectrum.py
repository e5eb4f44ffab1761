"""How many directions the vectors use. Ranks are necessary, not sufficient: compare runs of one method only."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def effective_rank(vectors: Tensor) -> float:
    """exp of the entropy of the normalised singular values of an (N, D) matrix, uncentred; 0 for a zero matrix.

    Roy and Vetterli 2007; from 1 to min(N, D).
    """
    share = _singular_shares(vectors)
    return 0.0 if share is None else _exp_entropy(share)


@torch.no_grad()
def rankme(vectors: Tensor, epsilon: float = 1e-7) -> float:
    """The effective rank with `epsilon` added to every share, outside the division (Garrido et al. 2023)."""
    share = _singular_shares(vectors)
    return 0.0 if share is None else _exp_entropy(share + epsilon)


@torch.no_grad()
def alpha_req(vectors: Tensor, first: int = 11, last: int = 100) -> float:
    """alpha of eigenvalue_j ~ j^-alpha of the centred covariance of (N, D) (Agrawal et al. 2022).

    Least squares of ln eigenvalue on ln j, weighted by 1 / j, over j from `first` to `last` or to the last eigenvalue
    above rounding. About 1 is good, far above: few directions, far below: noise. NaN where fewer than 3 are left.
    The range is that of reptrix, the authors' library. Differs from the paper: its own training code fits j = 4 to 100.
    """
    values = _wide(vectors)
    singular = torch.linalg.svdvals(values - values.mean(dim=0))
    usable = int((singular > singular[0] * max(values.shape) * torch.finfo(values.dtype).eps).sum())
    last = min(last, usable)
    if last - first + 1 < 3:
        return math.nan
    eigenvalues = singular[first - 1 : last].double().square() / max(len(values) - 1, 1)
    index = torch.arange(first, last + 1, dtype=torch.float64)
    weight = (1 / index) / (1 / index).sum()
    x, y = index.log(), eigenvalues.log()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return -float((weight * x * y).sum() / (weight * x.square()).sum())


@torch.no_grad()
def lidar(views: Tensor, delta: float = 1e-4) -> float:
    """exp of the entropy of what tells images apart against what tells views apart, of (N, M, D) vectors (LiDAR).

    Eigenvalues of S_w^-1/2 S_b S_w^-1/2; S_b: covariance of the image means, S_w: pooled covariance of the M >= 2 views
    around them, plus `delta` on the diagonal (Thilak et al. 2023). From 1 to min(D, N - 1), 0 where S_b is zero; needs
    N > D. Only values of equal M compare. The paper prints no value for `delta`: 1e-4 is stable-pretraining's, and
    reptrix has 1e-6. Differs from the paper: no epsilon is added to the shares, since 0 ln 0 counts as 0.
    """
    values = views.detach().cpu().double()
    num_images, num_views, dimension = values.shape
    means = values.mean(dim=1)
    within = (values - means[:, None]).reshape(-1, dimension)
    spread = within.T @ within / (num_images * (num_views - 1)) + delta * torch.eye(dimension, dtype=torch.float64)
    centred = means - means.mean(dim=0)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(spread), centred.T, upper=False)
    eigenvalues = torch.linalg.svdvals(whitened).square()
    total = eigenvalues.sum()
    return _exp_entropy(eigenvalues / total) if total > 0 else 0.0


def _singular_shares(vectors: Tensor) -> Tensor | None:
    values = torch.linalg.svdvals(_wide(vectors))
    total = values.sum()
    return values / total if total > 0 else None


def _exp_entropy(share: Tensor) -> float:
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def _wide(vectors: Tensor) -> Tensor:
    vectors = vectors.detach().cpu()
    return vectors if vectors.dtype == torch.float64 else vectors.float()
