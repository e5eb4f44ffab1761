"""The pace of a training with a deadline: its number of steps is corrected once, early in the training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from byol.runtime.listener import Listener

MEASUREMENT, CORRECTION = 0.03, 0.19
"""Fractions of the steps: the speed measurement starts at the first, the correction happens at the second.

A correction after a fifth of the steps would distort the learning-rate schedule.
"""


@dataclass
class Pace:
    """Measures the speed between two early steps and computes how many steps fit until `deadline`."""

    deadline: float
    """Time at which the last step should end, in seconds of time.monotonic()."""
    planned_steps: int
    listener: Listener
    most_steps: int | None = None
    """Upper limit for the corrected number of steps; None: no limit."""
    tested: Sequence[float] = (0.0,)
    """Seconds per step measured by the speed test, one value per stage of equal length. Overhead beyond these is assumed
    equal in all stages."""
    now: Callable[[], float] = time.monotonic
    _started: float | None = field(default=None, init=False)

    def corrected(self, step: int) -> int | None:
        """The corrected total number of steps if the correction is due after `step` steps, else None."""
        within_first_stage = min(CORRECTION, 1 / len(self.tested))
        first, last = (max(1, int(fraction * self.planned_steps)) for fraction in (MEASUREMENT, within_first_stage))
        if step == first:
            self._started = self.now()
        if step != last or last <= first or self._started is None:
            return None
        seconds_per_step = (self.now() - self._started) / (last - first)
        mean = seconds_per_step + sum(self.tested) / len(self.tested) - self.tested[0]
        remaining = self.deadline - self.now()
        steps = max(step + 1, int((step * seconds_per_step + remaining) / max(mean, 1e-9)))
        steps = min(steps, self.most_steps or steps)
        if steps != self.planned_steps:
            self.listener.say(f"  after {step} steps: {steps} steps fit the time instead of {self.planned_steps}")
        return steps
