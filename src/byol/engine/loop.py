"""The loop around the step: batches in, numbers and checkpoints out."""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from byol.data.loader import Batch, Feed
from byol.diagnostics.collapse import CollapseWatch, watch
from byol.engine import checkpoint
from byol.engine.metrics import MetricsFile
from byol.engine.state import State
from byol.engine.step import ComputeLoss, Schedule, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.runtime.stopping import StopRequest
from byol.views.two_views import TwoViews


@dataclass(frozen=True)
class LoopSettings:
    """How often the loop does what."""

    num_micro_batches: int
    log_interval_steps: int
    collapse_interval_steps: int
    checkpoint_interval_seconds: float


@dataclass(frozen=True)
class Progress:
    """Where training stands, for whoever shows it."""

    step: int
    total_steps: int
    loss: float
    learning_rate: float
    tau: float
    images_per_second: float
    remaining_seconds: float


@dataclass(frozen=True)
class LoopEnd:
    """How the loop ended."""

    finished: bool
    signal_number: int | None
    collapse: CollapseWatch | None
    elapsed_seconds: float
    images_per_second: float


def train(
    state: State,
    feed: Feed,
    views: TwoViews,
    compute_loss: ComputeLoss,
    schedule: Schedule,
    settings: LoopSettings,
    *,
    device: torch.device,
    checkpoints: Path,
    metrics: MetricsFile,
    show: Callable[[Progress], None] = lambda progress: None,
) -> LoopEnd:
    """Trains until `schedule.total_steps` or a signal, saving at intervals and at the end.

    Raises NonFiniteError (the newest checkpoint is from before) and OutOfMemoryError.
    """
    first_step, total = state.step, schedule.total_steps
    started = saved_at = logged_at = time.monotonic()
    logged_step, collapse, losses = first_step, None, []
    batches = feed.batches(first_step, total)

    with StopRequest() as stop:
        while state.step < total and stop.signal_number is None:
            step = state.step
            with _clear_memory_errors():
                result = train_step(
                    state,
                    _next_micro_batches(batches, settings),
                    settings.num_micro_batches,
                    views,
                    compute_loss,
                    schedule,
                    device,
                )
            losses.append(result.loss)

            if step % settings.collapse_interval_steps == 0 or state.step == total:
                collapse = watch(result.output.projection1, result.output.target2)
            if state.step % settings.log_interval_steps == 0 or state.step in (first_step + 1, total):
                now = time.monotonic()
                rate = (state.step - logged_step) * schedule.batch_size / max(now - logged_at, 1e-9)
                loss = _finite(losses, step)
                row = {
                    "step": step,
                    "loss": loss,
                    "learning_rate": schedule.learning_rate(step),
                    "tau": schedule.tau(step),
                }
                recent = collapse.as_dict() if collapse is not None else {}
                metrics.write({**row, **recent, "images_per_second": rate, "elapsed_seconds": now - started})
                show(
                    Progress(
                        **{**row, "step": state.step},
                        total_steps=total,
                        images_per_second=rate,
                        remaining_seconds=(total - state.step) * schedule.batch_size / rate,
                    )
                )
                logged_at, logged_step, losses = now, state.step, []
            if time.monotonic() - saved_at > settings.checkpoint_interval_seconds:
                _finite(losses, step)
                checkpoint.save(checkpoints, state.state_dict())
                saved_at = time.monotonic()

    _finite(losses, state.step - 1)
    checkpoint.save(checkpoints, state.state_dict())
    elapsed = time.monotonic() - started
    rate = (state.step - first_step) * schedule.batch_size / max(elapsed, 1e-9)
    return LoopEnd(state.step >= total, stop.signal_number, collapse, elapsed, rate)


def _next_micro_batches(batches: Iterator[Batch], settings: LoopSettings) -> Iterator[Batch]:
    return itertools.islice(batches, settings.num_micro_batches)


def _finite(losses: list[Tensor], step: int) -> float:
    """The newest loss as a number. Raises NonFiniteError where one since the last look is not finite."""
    values = torch.stack(losses).tolist() if losses else [0.0]
    for back, value in enumerate(reversed(values)):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"The loss became {value} at step {step - back}. The newest checkpoint is from before. "
                f"Lower optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or try --precision fp32."
            )
    return values[-1]


@contextlib.contextmanager
def _clear_memory_errors() -> Iterator[None]:
    """Turns torch's out-of-memory errors into one that names the setting to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemoryError(
                "The device has too little memory for the batch. Set a smaller --micro-batch-size: the optimizer's "
                "batch stays the same, batch norm sees fewer images at a time."
            ) from error
        raise
