"""The loop around the step: batches in, numbers and checkpoints out."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from byol.data.loader import Feed
from byol.diagnostics.collapse import CollapseWatch, is_collapsed, watch
from byol.diagnostics.measures import measure_step
from byol.engine.metrics import MetricsFile
from byol.engine.micro_batches import views_by_part
from byol.engine.pace import Pace
from byol.engine.progress import _Log
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.engine.step import ComputeLoss, Schedule, train_step
from byol.errors import NonFiniteError, OutOfMemoryError
from byol.methods.network import MethodOutput
from byol.runtime import checkpoint
from byol.runtime.listener import SILENT, Listener
from byol.runtime.ranks import Ranks
from byol.runtime.stopping import StopRequest
from byol.views.views import Views

LOOKS_BEFORE_STOPPING = 3


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
    listener: Listener = SILENT,
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
    log = _Log(state.step, schedule, areas, settings, metrics, listener, ranks)
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
