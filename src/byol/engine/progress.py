"""Progress of a training, for the user and for metrics.jsonl."""

import math
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from byol.diagnostics.collapse import Health, can_judge, health
from byol.engine.metrics import MetricsFile
from byol.engine.pace import Pace
from byol.engine.schedule import Schedule
from byol.engine.settings import LoopSettings
from byol.engine.state import State
from byol.errors import NonFiniteError
from byol.methods.network import MethodOutput
from byol.runtime.listener import Listener
from byol.runtime.ranks import Ranks


@dataclass(frozen=True)
class Progress:
    """Progress of a training after a number of steps, to be shown to the user."""

    step: int
    total_steps: int
    loss: float
    health: Health | Literal["starting"]
    """Result of the newest collapse check; starting: too few steps for a verdict."""
    learning_rate: float
    images_per_second: float
    remaining_seconds: float
    """Estimated seconds until the end; NaN while unknown."""
    tau: float | None = None
    """Decay rate of the target network's average; None if the method has no such average."""


class Log:
    """Log of metrics. Losses stay on the device until a row is due, because reading one waits for the device."""

    def __init__(
        self,
        first_step: int,
        schedule: Schedule,
        pace: Pace,
        settings: LoopSettings,
        metrics: MetricsFile | None,
        listener: Listener,
        ranks: Ranks,
    ) -> None:
        self.first_step = self.checked_step = self.logged_step = first_step
        self.schedule, self.settings, self.metrics, self.listener, self.ranks = (
            schedule,
            settings,
            metrics,
            listener,
            ranks,
        )
        self.pace = pace
        self.started = self.logged_at = time.monotonic()
        self.losses: list[Tensor] = []
        self.output: MethodOutput | None = None
        self.last_loss = math.nan

    def newest_loss(self) -> float:
        """Newest loss, the mean over the ranks. Raises NonFiniteError if one since the last call is not finite.

        With `skip_non_finite` it does not raise.
        """
        if self.losses:
            values = self.ranks.mean(torch.stack(self.losses)).tolist()
            for step, value in enumerate(values, start=self.checked_step):
                if not math.isfinite(value) and not self.settings.skip_non_finite:
                    raise NonFiniteError(
                        f"The loss became {value} at step {step}. The newest checkpoint is from before. Lower "
                        f"optimizer.base_learning_rate, lengthen optimizer.warmup_epochs, or try --precision fp32.",
                        step,
                    )
            self.checked_step += len(values)
            self.losses, self.last_loss = [], values[-1]
        return self.last_loss

    def write(self, state: State, probed: dict[str, float] | None = None) -> None:
        """Writes and shows a row of metrics after a step; the first of a resumed run may only be shown.

        `probed`: the online probe's scores by name, if there are new ones.
        """
        loss, now, done, s = self.newest_loss(), time.monotonic(), state.step, self.schedule
        total_steps = s.last_step
        step = done - 1
        rate = (done - self.logged_step) * s.batch_size / max(now - self.logged_at, 1e-9)
        row = {"loss": loss, "learning_rate": s.learning_rate(step)}
        if state.method.has_average:
            row["tau"] = s.tau(step)
        measures = state.collapse.as_dict() | state.measures if state.collapse is not None else {}
        measures |= self._classifier()
        is_extra = step == self.first_step > 0 and done % self.settings.log_interval_steps and done < total_steps
        if self.metrics is not None and (probed or not is_extra):
            skipped = {"num_skipped_steps": state.num_skipped_steps} if self.settings.skip_non_finite else {}
            timing = {
                "images_per_second": rate,
                "elapsed_seconds": now - self.started,
                "threads": torch.get_num_threads(),
            }
            self.metrics.write({"step": step, **row, **measures, **(probed or {}), **skipped, **timing})
        self.listener.step(
            Progress(
                **row,
                health=self._health(state),
                step=done,
                total_steps=total_steps,
                images_per_second=rate,
                remaining_seconds=self.pace.seconds_left(s),
            )
        )
        self.logged_at, self.logged_step = now, done

    def _health(self, state: State) -> Health | Literal["starting"]:
        """Health by the newest collapse check; "starting" if that check came too early for a verdict."""
        step = state.step - 1
        is_finished = state.step >= self.schedule.last_step
        checked_at = step if is_finished else step - step % self.settings.collapse_interval_steps
        if not can_judge(checked_at + 1, self.schedule.warmup_steps):
            return "starting"
        return "unknown" if state.collapse is None else health(state.collapse)

    def _classifier(self) -> dict[str, float]:
        """Loss and accuracy of the online classifier on each rank's newest micro-batch; empty without a classifier."""
        o = self.output
        if o is None or o.classifier_loss is None or o.classifier_accuracy is None:
            return {}
        loss, accuracy = self.ranks.mean(torch.stack((o.classifier_loss, o.classifier_accuracy))).tolist()
        return {"classifier_loss": loss, "classifier_accuracy": accuracy}
