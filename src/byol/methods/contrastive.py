"""Losses with negatives: InfoNCE, which connects BYOL and SimCLR, and its special case NT-Xent (SimCLR)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from byol.methods.losses import l2_normalize

Gather = Callable[[Tensor], tuple[Tensor, int]]
"""Function (N, D) rows of this rank -> (all ranks' rows, index of this rank's first row), with gradient."""


def alone(rows: Tensor) -> tuple[Tensor, int]:
    """`Gather` of a single process: the rows themselves."""
    return rows, 0


def info_nce(
    prediction1: Tensor,
    prediction2: Tensor,
    target1: Tensor,
    target2: Tensor,
    *,
    alpha: float,
    beta: float,
    gather: Gather = alone,
    chunk: int = 0,
) -> Tensor:
    """Negative InfoNCE^{alpha,beta}, summed over both directions (BYOL equation 8 and appendix F.4): a scalar.

    `alpha` is the temperature. `beta` is the weight of the negatives, which are the 2(N - 1) other targets of both views
    in all ranks' batches; the positive stays in the denominator. Targets receive gradients: detach them where they
    should not. beta 0 with predictor and target network is BYOL's loss minus 4; beta 1 with neither is 4 alpha NT-Xent.
    `chunk` anchors are compared at a time, and again in the backward pass, so that memory grows with N x chunk instead
    of N x N; 0: all at once. Arithmetic is in float32 or float64, under autocast too.
    """
    with torch.autocast(prediction1.device.type, enabled=False):
        anchors = l2_normalize(prediction1), l2_normalize(prediction2)
        targets = l2_normalize(target1), l2_normalize(target2)
        positives = (anchors[0] * targets[1]).sum(dim=-1) + (anchors[1] * targets[0]).sum(dim=-1)
        loss = -2 * positives.mean()
        if beta == 0:
            return loss
        (all1, first), (all2, _) = gather(targets[0]), gather(targets[1])
        partition = log_partition(anchors[0], all1, all2, first, alpha, chunk)
        partition = partition + log_partition(anchors[1], all2, all1, first, alpha, chunk)
        return loss + beta * 2 * alpha * partition.mean()


def nt_xent(
    projection1: Tensor,
    projection2: Tensor,
    target1: Tensor | None = None,
    target2: Tensor | None = None,
    *,
    temperature: float,
    gather: Gather = alone,
    chunk: int = 0,
) -> Tensor:
    """Mean over all 2N views of -log softmax of their partner among the 2N - 1 others (SimCLR equation 1).

    The projections are compared with `target1` and `target2` if given, else with each other.
    """
    targets = (projection1, projection2) if target1 is None or target2 is None else (target1, target2)
    loss = info_nce(projection1, projection2, *targets, alpha=temperature, beta=1.0, gather=gather, chunk=chunk)
    return loss / (4 * temperature)


def log_partition(
    anchors: Tensor, same_view: Tensor, other_view: Tensor, first: int, alpha: float, chunk: int = 0
) -> Tensor:
    """(N,) ln(sum_{j != i} exp(<a_i, s_j> / alpha) + sum_j exp(<a_i, o_j> / alpha)); anchor i is row first + i."""
    if not chunk or chunk >= len(anchors):
        return _log_partition(anchors, same_view, other_view, first, alpha)
    parts = []
    for start in range(0, len(anchors), chunk):
        part = anchors[start : start + chunk]
        partition = checkpoint(
            _log_partition, part, same_view, other_view, first + start, alpha,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
        parts.append(partition)
    return torch.cat(parts)


def _log_partition(anchors: Tensor, same_view: Tensor, other_view: Tensor, first: int, alpha: float) -> Tensor:
    own = torch.arange(len(anchors), device=anchors.device)
    same = anchors @ same_view.T / alpha
    same = same.index_put((own, own + first), same.new_full((), float("-inf")))
    return torch.logsumexp(torch.cat((same, anchors @ other_view.T / alpha), dim=1), dim=1)
