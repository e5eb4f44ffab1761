"""Learning rate and tau as pure functions of the step (BYOL section 3.2, appendix J; DeepMind's schedules)."""

import math


def total_steps(epochs: float, num_images: int, batch_size: int) -> int:
    """K = epochs * N // batch_size: batches run across the borders of epochs.

    `epochs` may be a fraction; a billionth of a step is forgiven, so that K * batch_size / N epochs are K steps.
    """
    return int(epochs * num_images / batch_size + 1e-9)


def learning_rate(step: int, *, base: float, batch_size: int, total: int, warmup: int) -> float:
    """The rate of 0-based `step`: linear from 0 over `warmup` steps to base * batch_size / 256, then cosine to 0."""
    peak = base * batch_size / 256
    if step < warmup:
        return peak * step / warmup
    progress = (min(step, total) - warmup) / (total - warmup) if total > warmup else 1.0
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def target_tau(step: int, *, base: float, total: int) -> float:
    """1 - (1 - base) (cos(pi k / K) + 1) / 2: from base to 1 (BYOL section 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * min(step, total) / total) + 1) / 2


def scale_tau(tau: float, batch_size: int, reference_batch: int) -> float:
    """tau ^ (batch_size / reference_batch): the same memory, counted in images, at another batch (EMA scaling rule).

    Differs from the paper, though its own step from batch 4096 to 512 (0.996 to 0.9995, appendix G) is this rule.
    Not for accumulation, which leaves the batch as it is.
    """
    return tau ** (batch_size / reference_batch)
