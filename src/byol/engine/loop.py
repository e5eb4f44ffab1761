"""The loop around the step: batches in, numbers and checkpoints out."""

import contextlib
import dataclasses
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from byol.data.loader import Feed
from byol.diagnostics.collapse import CollapseWatch, Health, health, is_collapsed, watch
from byol.diagnostics.measures import measure_step
from byol.engine.metrics import MetricsFile
from byol.engine.micro_batches import bounds, views_by_part
from byol.engine.pace import Pace
from byol.engine.state import State
from byol.engine.step import ComputeLoss, Schedule, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.methods.network import MethodOutput
from byol.runtime import checkpoint
from byol.runtime.ranks import Ranks
from byol.runtime.stopping import StopRequest
from byol.views.views import Views

LOOKS_BEFORE_STOPPING = 3
LINES_OF_PACE = 5


@dataclass(frozen=True)
class LoopSettings:
    """How often the loop does what."""

    num_micro_batches: int
    log_interval_steps: int
    collapse_interval_steps: int
    checkpoint_interval_seconds: float
    keep_checkpoints: int = 2
    milestone_steps: int = 0
    seed: int = 0
    """With the step and the rank, of what an encoder draws at random."""
    probe_steps: int = 0
    skip_non_finite: bool = False
    stop_on_collapse: bool = False


@dataclass(frozen=True)
class Progress:
    """Where training stands, for whoever shows it."""

    step: int
    total_steps: int
    loss: float
    health: Health | Literal["starting"]
    """By the newest look at the projections; starting: too early to say."""
    learning_rate: float
    images_per_second: float
    remaining_seconds: float
    """NaN where it is not known yet."""
    tau: float | None = None
    """None where no target network follows the online one."""


@dataclass(frozen=True)
class LoopEnd:
    """How the loop ended."""

    finished: bool
    signal_number: int | None
    collapsed: bool
    """Whether a collapse ended it."""
    collapse: CollapseWatch | None
    elapsed_seconds: float
    images_per_second: float


def train(
    state: State,
    feed: Feed,
    views: Sequence[Views],
    compute_loss: ComputeLoss,
    schedule: Schedule,
    settings: LoopSettings,
    *,
    device: torch.device,
    stop: StopRequest,
    checkpoints: Path,
    metrics: MetricsFile | None,
    show: Callable[[Progress], None] = lambda progress: None,
    probe: Callable[[nn.Module], dict[str, float]] | None = None,
    pace: Pace | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008
) -> LoopEnd:
    """Trains until `schedule.total_steps` or a `stop` of any rank; the first rank saves at intervals and at the end.

    `views` are those of equal parts of the steps, one after the other. `metrics` is None on the other ranks. `probe` looks at the
    encoder every `settings.probe_steps` steps and at the end; `pace` may correct the number of steps, once. Raises NonFiniteError
    (the newest checkpoint is from before) and OutOfMemoryError.
    """
    total = schedule.total_steps
    areas = [part.size**2 for part in views]
    log = _Log(state.step, schedule, areas, settings, metrics, show, ranks)
    saved_at = time.monotonic()
    made = views_by_part(feed, views, state.step, total, device)
    stopped_by = collapsed_looks = 0
    result = None

    def save() -> None:
        log.newest_loss()  # raises where it is not finite, before anything is written
        _require_finite_weights(state)
        if ranks.is_first:
            keep, milestones = settings.keep_checkpoints, settings.milestone_steps
            checkpoint.save(checkpoints, state.state_dict(), keep=keep, milestone_steps=milestones)

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        while state.step < total and not stopped_by and collapsed_looks < LOOKS_BEFORE_STOPPING:
            step = state.step
            torch.manual_seed(_seed_of_step(settings.seed, step, ranks.rank))
            with _clear_memory_errors():
                result = train_step(
                    state,
                    itertools.islice(made, settings.num_micro_batches),
                    settings.num_micro_batches,
                    compute_loss,
                    schedule,
                    skip_non_finite=settings.skip_non_finite,
                )
            log.losses.append(result.loss)
            log.output = result.outputs[-1]
            collapsed = 0
            if step % settings.collapse_interval_steps == 0 or state.step == total:
                state.collapse, state.measures = _look(result.outputs, ranks)
                collapsed = 1 + int(step >= schedule.warmup_steps and is_collapsed(state.collapse))
            if probe and (state.step % settings.probe_steps == 0 or state.step == total):
                log.write(state, probe(state.method.encoder) if ranks.is_first else None)
            elif state.step % settings.log_interval_steps == 0 or state.step in (log.first_step + 1, total):
                log.write(state)

            due = ranks.is_first and time.monotonic() - saved_at > settings.checkpoint_interval_seconds
            stopped_by, saves, collapsed = ranks.maximum(stop.signal_number or 0, int(due), collapsed)
            if settings.stop_on_collapse and collapsed:
                collapsed_looks = collapsed_looks + 1 if collapsed == 2 else 0
            if pace and (steps := pace.corrected(state.step)):
                state.planned_steps = total = ranks.from_first(steps)
                schedule = log.schedule = dataclasses.replace(schedule, total_steps=total)
                made = views_by_part(feed, views, state.step, total, device)
            if saves or (settings.milestone_steps and state.step % settings.milestone_steps == 0):
                save()
                saved_at = time.monotonic()
    if state.step > log.first_step:
        save()

    # a stop between two looks: told, but not part of the state, which goes on as if it had not been
    seen = _look(result.outputs, ranks)[0] if result is not None and state.step < total else state.collapse
    elapsed = time.monotonic() - log.started
    rate = (state.step - log.first_step) * schedule.batch_size / max(elapsed, 1e-9)
    collapse_ended = collapsed_looks == LOOKS_BEFORE_STOPPING
    return LoopEnd(state.step >= total, stopped_by or None, collapse_ended, seen, elapsed, rate)


def _look(outputs: list[MethodOutput], ranks: Ranks) -> tuple[CollapseWatch, dict[str, float]]:
    """At all images of a step, of all ranks."""
    parts = (torch.cat([o.projection1 for o in outputs]), torch.cat([o.target2 for o in outputs]))
    projection, target = (ranks.gather_rows(part)[0] for part in parts)
    return watch(projection, target), measure_step(projection, target)


class _Log:
    """Losses stay on the device until a line is due: to read one waits for it."""

    def __init__(
        self,
        first_step: int,
        schedule: Schedule,
        areas: Sequence[int],
        settings: LoopSettings,
        metrics: MetricsFile | None,
        show: Callable[[Progress], None],
        ranks: Ranks,
    ) -> None:
        self.first_step = self.seen_step = self.logged_step = first_step
        self.schedule, self.settings, self.metrics, self.show, self.ranks = schedule, settings, metrics, show, ranks
        self.areas = areas
        self.started = self.logged_at = time.monotonic()
        self.lines = deque([(self.started, first_step)], LINES_OF_PACE)
        self.losses: list[Tensor] = []
        self.output: MethodOutput | None = None
        self.newest = math.nan

    def newest_loss(self) -> float:
        """The mean over the ranks. Raises NonFiniteError where one since the last look is not finite."""
        if self.losses:
            values = self.ranks.mean(torch.stack(self.losses)).tolist()
            for step, value in enumerate(values, start=self.seen_step):
                if not math.isfinite(value) and not self.settings.skip_non_finite:
                    raise NonFiniteError(
                        f"The loss became {value} at step {step}. The newest checkpoint is from before. Lower "
                        f"optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or try --precision fp32.",
                        step,
                    )
            self.seen_step += len(values)
            self.losses, self.newest = [], values[-1]
        return self.newest

    def write(self, state: State, probed: dict[str, float] | None = None) -> None:
        """One line of metrics after a step, shown too. The first of a resumed run is only shown."""
        loss, now, done, s = self.newest_loss(), time.monotonic(), state.step, self.schedule
        step = done - 1
        rate = (done - self.logged_step) * s.batch_size / max(now - self.logged_at, 1e-9)
        row = {"loss": loss, "learning_rate": s.learning_rate(step)}
        if state.method.has_average:
            row["tau"] = s.tau(step)
        seen = state.collapse.as_dict() | state.measures if state.collapse is not None else {}
        seen |= self._classifier()
        is_extra = step == self.first_step > 0 and done % self.settings.log_interval_steps and done < s.total_steps
        if self.metrics is not None and (probed or not is_extra):
            skipped = {"num_skipped_steps": state.num_skipped_steps} if self.settings.skip_non_finite else {}
            timing = {"images_per_second": rate, "elapsed_seconds": now - self.started}
            self.metrics.write({"step": step, **row, **seen, **(probed or {}), **skipped, **timing})
        self.show(
            Progress(
                **row,
                health=self._health(state),
                step=done,
                total_steps=s.total_steps,
                images_per_second=rate,
                remaining_seconds=self._remaining_seconds(now, done),
            )
        )
        self.logged_at, self.logged_step = now, done

    def _remaining_seconds(self, now: float, done: int) -> float:
        """By the newest lines, so that one slow interval does not change it much; the first step, which is slower, does not count."""
        total = self.schedule.total_steps
        if done == self.first_step + 1 < total:
            self.lines[0] = (now, done)
            return math.nan
        since, at = self.lines[0]
        self.lines.append((now, done))
        seconds_per_pixel = (now - since) / max(pixels(self.areas, at, done, total), 1)
        return seconds_per_pixel * pixels(self.areas, done, total, total)

    def _health(self, state: State) -> Health | Literal["starting"]:
        """No verdict where the newest look was in the warm-up, or before the first step; at the end one in any case."""
        step = state.step - 1
        seen_at = step - step % self.settings.collapse_interval_steps
        if seen_at < max(1, self.schedule.warmup_steps) and state.step < self.schedule.total_steps:
            return "starting"
        return "unknown" if state.collapse is None else health(state.collapse)

    def _classifier(self) -> dict[str, float]:
        """What the online classifier makes of the newest micro-batch of each rank, where there is one."""
        o = self.output
        if o is None or o.classifier_loss is None or o.classifier_accuracy is None:
            return {}
        loss, accuracy = self.ranks.mean(torch.stack((o.classifier_loss, o.classifier_accuracy))).tolist()
        return {"classifier_loss": loss, "classifier_accuracy": accuracy}


def pixels(areas: Sequence[int], first_step: int, last_step: int, total_steps: int) -> int:
    """What the steps [first_step, last_step) cost, as told by the `areas` of a view in equal parts of the training."""
    parts = zip(areas, bounds(len(areas), total_steps), strict=True)
    return sum(area * max(0, min(last, last_step) - max(first, first_step)) for area, (first, last) in parts)


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    """For what encoders draw (dropout, stochastic depth): a resumed run draws what the whole one would have."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def _require_finite_weights(state: State) -> None:
    """A finite loss may have a gradient that is not; such weights must not take the place of a sound checkpoint."""
    norms = torch._foreach_norm([p.detach() for p in state.method.parameters()])
    if not bool(torch.stack([norm.float() for norm in norms]).isfinite().all()):
        raise NonFiniteError(
            f"Weights that are not finite came of step {state.step - 1}. The newest checkpoint is from before. Lower "
            f"optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or set on_non_finite to skip.",
            state.step - 1,
        )


@contextlib.contextmanager
def _clear_memory_errors() -> Iterator[None]:
    """Turns torch's out-of-memory errors into one that names the setting to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in str(error).lower() for words in ("can't allocate memory", "out of memory")
        ):
            raise OutOfMemoryError(
                "The device has too little memory for the batch. Set a smaller --micro-batch-size: the optimizer's "
                "batch stays the same, batch norm sees fewer images at a time."
            ) from error
        raise
