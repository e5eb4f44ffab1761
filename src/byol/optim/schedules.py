"""Learning rate and tau as pure functions of the step (BYOL section 3.2, appendix J; DeepMind's schedules)."""

import math


def total_steps(epochs: float, num_images: int, batch_size: int) -> int:
    """K = epochs * N // batch_size steps; a batch may hold images of two epochs.

    `epochs` may be a fraction. A billionth of a step is added, so that K * batch_size / N epochs give K steps.
    """
    return int(epochs * num_images / batch_size + 1e-9)


def learning_rate(step: float, *, base: float, batch_size: int, total: int, warmup: int) -> float:
    """Rate of 0-based `step`: linear from 0 over `warmup` steps to base * batch_size / 256, then cosine to 0."""
    peak = base * batch_size / 256
    if step < warmup:
        return peak * step / warmup
    progress = (min(step, total) - warmup) / (total - warmup) if total > warmup else 1.0
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def target_tau(step: float, *, base: float, total: int) -> float:
    """Target decay 1 - (1 - base) (cos(pi k / K) + 1) / 2, from base to 1 (BYOL section 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * min(step, total) / total) + 1) / 2


def scale_tau(tau: float, batch_size: int, reference_batch: int) -> float:
    """tau ^ (batch_size / reference_batch): the same memory in images at another batch size (EMA scaling rule).

    Differs from the paper: it gives no rule, though its change from batch 4096 to 512 (0.996 to 0.9995, appendix G)
    follows this one. Accumulation does not change the batch size and needs no scaling.
    """
    return tau ** (batch_size / reference_batch)
