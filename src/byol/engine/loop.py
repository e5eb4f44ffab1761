"""The loop around the step: batches in, numbers and checkpoints out."""

import contextlib
import dataclasses
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
from byol.engine.metrics import MetricsFile
from byol.engine.micro_batches import MicroBatch, views_by_part
from byol.engine.pace import Pace
from byol.engine.progress import Log
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.engine.step import ComputeLoss, Schedule, StepResult, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.methods.network import MethodOutput
from byol.runtime import checkpoint
from byol.runtime.listener import SILENT, Listener
from byol.runtime.ranks import Ranks
from byol.runtime.stopping import StopRequest
from byol.views.views import Views

LOOKS_BEFORE_STOPPING = 3
NOT_LOOKED, SOUND, COLLAPSED = range(3)
"""Outcomes of a collapse check; the ranks agree on the largest."""


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


@dataclass
class Loop:
    """One training from its state to `schedule.total_steps`, or to a `stop` of any rank.

    The first rank saves at intervals and at the end; on the other ranks `metrics` is None.
    """

    state: State
    feed: Feed
    views: Sequence[Views]
    """One per part of the training; the parts have equal numbers of steps."""
    compute_loss: ComputeLoss
    schedule: Schedule
    settings: LoopSettings
    device: torch.device
    stop: StopRequest
    checkpoints: Path
    metrics: MetricsFile | None
    listener: Listener = SILENT
    probe: Callable[[nn.Module], dict[str, float]] | None = None
    """Scores the encoder every `settings.probe_steps` steps and at the end."""
    pace: Pace | None = None
    """Corrects the number of steps once, in a training by time."""
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        areas = [part.size**2 for part in self.views]
        self._log = Log(self.state.step, self.schedule, areas, self.settings, self.metrics, self.listener, self.ranks)
        self._collapsed_looks = 0

    def run(self) -> LoopEnd:
        """Trains. Raises NonFiniteError (the newest checkpoint is from before) and OutOfMemoryError."""
        state, settings = self.state, self.settings
        saved_at, stopped_by, result = time.monotonic(), 0, None
        batches = self._batches()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            while not (self._is_finished or stopped_by or self._is_stopped_by_collapse):
                result = self._step(batches)
                collapsed = self._watch(result)
                self._write_log()
                due = self.ranks.is_first and time.monotonic() - saved_at > settings.checkpoint_interval_seconds
                stopped_by, saves, collapsed = self.ranks.maximum(self.stop.signal_number or 0, int(due), collapsed)
                if settings.stop_on_collapse and collapsed:
                    self._collapsed_looks = self._collapsed_looks + 1 if collapsed == COLLAPSED else 0
                if self.pace and (steps := self.pace.corrected(state.step)):
                    self._correct_plan(steps)
                    batches = self._batches()
                if saves or (settings.milestone_steps and state.step % settings.milestone_steps == 0):
                    self._save()
                    saved_at = time.monotonic()
        if state.step > self._log.first_step:
            self._save()
        return self._end(result, stopped_by)

    @property
    def _is_finished(self) -> bool:
        return self.state.step >= self.schedule.total_steps

    @property
    def _is_stopped_by_collapse(self) -> bool:
        return self._collapsed_looks >= LOOKS_BEFORE_STOPPING

    def _batches(self) -> Iterator[MicroBatch]:
        return views_by_part(self.feed, self.views, self.state.step, self.schedule.total_steps, self.device)

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

    def _watch(self, result: StepResult) -> int:
        """Looks at the projections where a look is due: NOT_LOOKED, SOUND or COLLAPSED."""
        step = self.state.step - 1
        if step % self.settings.collapse_interval_steps and not self._is_finished:
            return NOT_LOOKED
        self.state.collapse, self.state.measures = _look(result.outputs, self.ranks)
        counts = step >= self.schedule.warmup_steps and is_collapsed(self.state.collapse)
        return COLLAPSED if counts else SOUND

    def _write_log(self) -> None:
        """Writes a line of metrics where one is due, with the probe's scores where these are."""
        state, settings = self.state, self.settings
        if self.probe and (state.step % settings.probe_steps == 0 or self._is_finished):
            self._log.write(state, self.probe(state.method.encoder) if self.ranks.is_first else None)
        elif (
            state.step % settings.log_interval_steps == 0 or state.step == self._log.first_step + 1 or self._is_finished
        ):
            self._log.write(state)

    def _correct_plan(self, steps: int) -> None:
        """Gives the training the number of steps that fits its time; the state keeps it for a resume."""
        self.state.planned_steps = total = self.ranks.from_first(steps)
        self.schedule = self._log.schedule = dataclasses.replace(self.schedule, total_steps=total)

    def _save(self) -> None:
        self._log.newest_loss()  # raises where it is not finite, before anything is written
        _require_finite_weights(self.state)
        if self.ranks.is_first:
            keep, milestones = self.settings.keep_checkpoints, self.settings.milestone_steps
            checkpoint.save(self.checkpoints, self.state.state_dict(), keep=keep, milestone_steps=milestones)

    def _end(self, result: StepResult | None, stopped_by: int) -> LoopEnd:
        state, now = self.state, time.monotonic()
        # Stopped between two collapse checks: report a fresh one, but keep it out of the state so that a resumed run is identical.
        is_between = not self._is_finished
        collapse = _look(result.outputs, self.ranks)[0] if result is not None and is_between else state.collapse
        elapsed = now - self._log.started
        rate = (state.step - self._log.first_step) * self.schedule.batch_size / max(elapsed, 1e-9)
        return LoopEnd(self._is_finished, stopped_by or None, self._is_stopped_by_collapse, collapse, elapsed, rate)


def _look(outputs: list[MethodOutput], ranks: Ranks) -> tuple[CollapseWatch, dict[str, float]]:
    """At all images of a step, of all ranks."""
    parts = (torch.cat([o.projection1 for o in outputs]), torch.cat([o.target2 for o in outputs]))
    projection, target = (ranks.gather_rows(part)[0] for part in parts)
    return watch(projection, target), measure_step(projection, target)


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
