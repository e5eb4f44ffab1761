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

from byol.data.loader import Feed
from byol.diagnostics.collapse import CollapseWatch, watch
from byol.engine import checkpoint
from byol.engine.metrics import MetricsFile
from byol.engine.state import State
from byol.engine.step import ComputeLoss, Schedule, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.runtime.ranks import Ranks
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
    metrics: MetricsFile | None,
    show: Callable[[Progress], None] = lambda progress: None,
    ranks: Ranks = Ranks(),  # noqa: B008
) -> LoopEnd:
    """Trains until `schedule.total_steps` or a signal to any rank; the first rank saves at intervals and at the end.

    `metrics` is None on the other ranks. Raises NonFiniteError (the newest checkpoint is from before) and OutOfMemoryError.
    """
    total = schedule.total_steps
    log = _Log(state.step, schedule, metrics, show, ranks, settings.log_interval_steps)
    saved_at = time.monotonic()
    batches = feed.batches(state.step, total)
    stopped_by = 0

    with StopRequest() as stop:
        while state.step < total and not stopped_by:
            step = state.step
            with _clear_memory_errors():
                result = train_step(
                    state,
                    itertools.islice(batches, settings.num_micro_batches),
                    settings.num_micro_batches,
                    views,
                    compute_loss,
                    schedule,
                    device,
                )
            log.losses.append(result.loss)
            if step % settings.collapse_interval_steps == 0 or state.step == total:
                state.collapse = watch(result.output.projection1, result.output.target2)
            if state.step % settings.log_interval_steps == 0 or state.step in (log.first_step + 1, total):
                log.write(step, state.collapse)

            due = ranks.is_first and time.monotonic() - saved_at > settings.checkpoint_interval_seconds
            stopped_by, save = ranks.maximum(stop.signal_number or 0, int(due))
            if save or stopped_by or state.step == total:
                log.newest_loss(step)  # raises where it is not finite, before anything is written
                if ranks.is_first:
                    checkpoint.save(checkpoints, state.state_dict())
                saved_at = time.monotonic()

    elapsed = time.monotonic() - log.started
    rate = (state.step - log.first_step) * schedule.batch_size / max(elapsed, 1e-9)
    return LoopEnd(state.step >= total, stopped_by or None, state.collapse, elapsed, rate)


class _Log:
    """Losses stay on the device until a line is due: to read one waits for it."""

    def __init__(
        self,
        first_step: int,
        schedule: Schedule,
        metrics: MetricsFile | None,
        show: Callable[[Progress], None],
        ranks: Ranks,
        interval: int,
    ) -> None:
        self.first_step = self.logged_step = first_step
        self.schedule, self.metrics, self.show, self.ranks = schedule, metrics, show, ranks
        self.interval = interval
        self.started = self.logged_at = time.monotonic()
        self.losses: list[Tensor] = []

    def newest_loss(self, step: int) -> float:
        """The mean over the ranks. Raises NonFiniteError where one since the last look is not finite."""
        if not self.losses:
            return math.nan
        values = self.ranks.mean(torch.stack(self.losses)).tolist()
        for back, value in enumerate(reversed(values)):
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"The loss became {value} at step {step - back}. The newest checkpoint is from before. "
                    f"Lower optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or try --precision fp32."
                )
        self.losses = [self.losses[-1]]
        return values[-1]

    def write(self, step: int, collapse: CollapseWatch | None) -> None:
        """One line of metrics, shown too; `step` is the 0-based one just made. A resumed run's first is only shown."""
        loss, now, done, s = self.newest_loss(step), time.monotonic(), step + 1, self.schedule
        rate = (done - self.logged_step) * s.batch_size / max(now - self.logged_at, 1e-9)
        row = {"loss": loss, "learning_rate": s.learning_rate(step), "tau": s.tau(step)}
        is_extra = step == self.first_step > 0 and done % self.interval and done < s.total_steps
        if self.metrics is not None and not is_extra:
            recent = collapse.as_dict() if collapse is not None else {}
            elapsed = now - self.started
            self.metrics.write({"step": step, **row, **recent, "images_per_second": rate, "elapsed_seconds": elapsed})
        remaining = (s.total_steps - done) * s.batch_size / rate
        self.show(
            Progress(
                **row,
                step=done,
                total_steps=s.total_steps,
                images_per_second=rate,
                remaining_seconds=remaining,
            )
        )
        self.logged_at, self.logged_step = now, done


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
