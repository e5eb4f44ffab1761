"""Progress of a training, for people and for metrics.jsonl."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from byol.diagnostics.collapse import Health, health
from byol.engine.metrics import MetricsFile
from byol.engine.micro_batches import bounds
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.engine.step import Schedule
from byol.errors import NonFiniteError
from byol.methods.network import MethodOutput
from byol.runtime.listener import Listener
from byol.runtime.ranks import Ranks

LINES_OF_PACE = 5


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


class Log:
    """Losses stay on the device until a line is due: to read one waits for it."""

    def __init__(
        self,
        first_step: int,
        schedule: Schedule,
        areas: Sequence[int],
        settings: LoopSettings,
        metrics: MetricsFile | None,
        listener: Listener,
        ranks: Ranks,
    ) -> None:
        self.first_step = self.seen_step = self.logged_step = first_step
        self.schedule, self.settings, self.metrics, self.listener, self.ranks = (
            schedule,
            settings,
            metrics,
            listener,
            ranks,
        )
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
        self.listener.step(
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
