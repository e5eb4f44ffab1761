"""The training loop: runs steps on batches, checks for collapse, and writes metrics and checkpoints."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from byol.data.loader import Feed
from byol.diagnostics.collapse import CollapseWatch, is_collapsed, watch
from byol.diagnostics.measures import measure_step
from byol.diagnostics.predictor import measure_linear_predictor
from byol.engine.metrics import MetricsFile
from byol.engine.micro_batches import MicroBatch, views_by_part
from byol.engine.pace import Deadline, Pace
from byol.engine.progress import Log
from byol.engine.schedule import Schedule
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.engine.step import ComputeLoss, StepResult, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.methods.network import Method, MethodOutput
from byol.runtime import checkpoint
from byol.runtime.listener import SILENT, Listener
from byol.runtime.ranks import Ranks
from byol.runtime.stopping import StopRequest
from byol.runtime.threads import tuned_threads
from byol.views.views import Views

COLLAPSED_CHECKS_BEFORE_STOPPING = 3
"""Consecutive collapse checks that must fail before `stop_on_collapse` ends the training."""
NOT_CHECKED, SOUND, COLLAPSED = range(3)
"""Outcomes of a collapse check; the ranks agree on the largest."""


@dataclass(frozen=True)
class LoopEnd:
    """Reason why the loop ended, with its last measures and its speed."""

    finished: bool
    signal_number: int | None
    """Number of the signal that stopped the loop."""
    collapsed: bool
    """Whether a collapse stopped the loop."""
    collapse: CollapseWatch | None
    """Newest collapse measures; None if no step was made."""
    elapsed_seconds: float
    images_per_second: float


@dataclass
class Loop:
    """Trains from `state` until `schedule.last_step`, or until any rank gets a stop signal.

    The first rank saves checkpoints at intervals and at the end; on the other ranks `metrics` is None.
    """

    state: State
    feed: Feed
    views: Sequence[Views]
    """Views of each stage of the schedule."""
    compute_loss: ComputeLoss
    schedule: Schedule
    settings: LoopSettings
    device: torch.device
    stop: StopRequest
    checkpoints: Path
    metrics: MetricsFile | None
    listener: Listener = SILENT
    probe: Callable[[nn.Module], dict[str, float]] | None = None
    """Function that scores the encoder, every `settings.probe_steps` steps and at the end; scores by name."""
    deadline: Deadline | None = None
    stage_costs: Sequence[float] = ()
    """Relative cost of a step in each stage; empty: the views' areas."""
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        self._pace = Pace(self.stage_costs or [part.size**2 for part in self.views])
        self._log = Log(
            self.state.step, self.schedule, self._pace, self.settings, self.metrics, self.listener, self.ranks
        )
        self._collapsed_checks = 0

    def run(self) -> LoopEnd:
        """Trains. Raises OutOfMemoryError, and NonFiniteError without saving: the newest checkpoint is older."""
        state, settings = self.state, self.settings
        saved_at, stopped_by, result = time.monotonic(), 0, None
        batches = self._batches()
        forked = torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])
        with forked, tuned_threads(self.device, self._fixed_threads, self.listener) as tuner:
            while not (self._is_finished or stopped_by or self._is_stopped_by_collapse):
                result = self._step(batches)
                self._pace.add(time.monotonic(), state.step)
                if tuner.check():
                    self._pace.restart()
                collapsed = self._check_collapse(result)
                self._write_log()
                due = self.ranks.is_first and time.monotonic() - saved_at > settings.checkpoint_interval_seconds
                stopped_by, saves, collapsed, last_step = self.ranks.maximum(
                    self.stop.signal_number or 0, int(due), collapsed, self._fitting_steps()
                )
                if settings.stop_on_collapse and collapsed:
                    self._collapsed_checks = self._collapsed_checks + 1 if collapsed == COLLAPSED else 0
                if last_step:
                    self._move_end(last_step)
                    batches = self._batches() if len(self.views) > 1 else batches
                if saves or (settings.milestone_steps and state.step % settings.milestone_steps == 0):
                    self._save()
                    saved_at = time.monotonic()
        if state.step > self._log.first_step:
            self._save()
        return self._end(result, stopped_by)

    @property
    def _is_finished(self) -> bool:
        return self.state.step >= self.schedule.last_step

    @property
    def _fixed_threads(self) -> int:
        """Fixed number of threads; 0: chosen by the speed. Ranks keep theirs, since each waits for the slowest."""
        return self.settings.threads or (torch.get_num_threads() if self.ranks.size > 1 else 0)

    @property
    def _is_stopped_by_collapse(self) -> bool:
        return self._collapsed_checks >= COLLAPSED_CHECKS_BEFORE_STOPPING

    def _batches(self) -> Iterator[MicroBatch]:
        return views_by_part(
            self.feed, self.views, self.state.step, self.schedule, self.device, has_open_end=self.deadline is not None
        )

    def _step(self, batches: Iterator[MicroBatch]) -> StepResult:
        settings, count = self.settings, self.settings.num_micro_batches
        torch.manual_seed(_seed_of_step(settings.seed, self.state.step, self.ranks.rank))
        with _clear_memory_errors():
            result = train_step(
                self.state,
                itertools.islice(batches, count),
                count,
                self.compute_loss,
                self.schedule,
                skip_non_finite=settings.skip_non_finite,
            )
        self._log.losses.append(result.loss)
        self._log.output = result.outputs[-1]
        return result

    def _check_collapse(self, result: StepResult) -> int:
        """Measures the projections if a check is due; returns NOT_CHECKED, SOUND or COLLAPSED."""
        step = self.state.step - 1
        if step % self.settings.collapse_interval_steps and not self._is_finished:
            return NOT_CHECKED
        state = self.state
        state.collapse, state.measures = _measure_collapse(state.method, result.outputs, self.ranks)
        counts = step >= self.schedule.warmup_steps and is_collapsed(state.collapse)
        return COLLAPSED if counts else SOUND

    def _write_log(self) -> None:
        """Writes a row of metrics if one is due, with the probe's scores if they are due."""
        state, settings = self.state, self.settings
        if self.probe and (state.step % settings.probe_steps == 0 or self._is_finished):
            self._log.write(state, self.probe(state.method.encoder) if self.ranks.is_first else None)
        elif (
            state.step % settings.log_interval_steps == 0 or state.step == self._log.first_step + 1 or self._is_finished
        ):
            self._log.write(state)

    def _fitting_steps(self) -> int:
        """Number of steps that fits until the deadline, by the first rank, if it is not that of the plan; else 0."""
        if self.deadline is None or self._is_finished or not self.ranks.is_first:
            return 0
        return self.deadline.fitting_steps(
            self.state.step, self.schedule.last_step, self._pace.seconds_left(self.schedule)
        )

    def _move_end(self, last_step: int) -> None:
        """Changes the number of steps; the state records it, so that a resumed run has it too."""
        self.schedule = self._log.schedule = self.schedule.with_end(self.state.step, last_step)
        self.state.segments = self.schedule.segments

    def _save(self) -> None:
        self._log.newest_loss()  # raises for a non-finite loss before anything is written
        _require_finite_weights(self.state)
        if self.ranks.is_first:
            keep, milestones = self.settings.keep_checkpoints, self.settings.milestone_steps
            checkpoint.save(self.checkpoints, self.state.state_dict(), keep=keep, milestone_steps=milestones)

    def _end(self, result: StepResult | None, stopped_by: int) -> LoopEnd:
        state, now = self.state, time.monotonic()
        # Between two collapse checks, report a new one but keep it out of the state: a resumed run stays identical.
        is_between = not self._is_finished
        collapse = (
            _measure_collapse(state.method, result.outputs, self.ranks)[0]
            if result is not None and is_between
            else state.collapse
        )
        elapsed = now - self._log.started
        rate = (state.step - self._log.first_step) * self.schedule.batch_size / max(elapsed, 1e-9)
        return LoopEnd(self._is_finished, stopped_by or None, self._is_stopped_by_collapse, collapse, elapsed, rate)


def _measure_collapse(
    method: Method, outputs: list[MethodOutput], ranks: Ranks
) -> tuple[CollapseWatch, dict[str, float]]:
    """Measures the projections of all images of a step, from all micro-batches and ranks, and the linear predictor after it."""
    of_this_rank = (torch.cat([o.projection1 for o in outputs]), torch.cat([o.target2 for o in outputs]))
    projection, target = (ranks.gather_rows(rows)[0] for rows in of_this_rank)
    measures, predictor = measure_step(projection, target), method.linear_predictor
    if predictor is not None:
        measures |= measure_linear_predictor(predictor, projection)
    return watch(projection, target), measures


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    """Seed for random layers (dropout, stochastic depth); a resumed run draws the same numbers as an uninterrupted one."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def _require_finite_weights(state: State) -> None:
    """Raises NonFiniteError if a weight is not finite: a finite loss can have a non-finite gradient."""
    norms = torch._foreach_norm([p.detach() for p in state.method.parameters()])
    if not bool(torch.stack([norm.float() for norm in norms]).isfinite().all()):
        raise NonFiniteError(
            f"The weights are not finite after step {state.step - 1}. The newest checkpoint is from before. Lower "
            f"optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or set on_non_finite to skip.",
            state.step - 1,
        )


@contextlib.contextmanager
def _clear_memory_errors() -> Iterator[None]:
    """Replaces torch's out-of-memory errors by one that names the setting to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in str(error).lower() for words in ("can't allocate memory", "out of memory", "alloc_failed")
        ):
            raise OutOfMemoryError(
                "The device has too little memory for the batch. Set a smaller --micro-batch-size: the optimizer's "
                "batch stays the same, but batch norm sees fewer images at a time."
            ) from error
        raise
