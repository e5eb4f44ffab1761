"""Keeping a training to a given time: its number of steps may be corrected once, early on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from byol.runtime.listener import Listener

FIRST_LOOK, CORRECTION = 0.03, 0.19  # of the steps; a fifth is the latest that leaves the schedule its shape


@dataclass
class Pace:
    """Measures the steps between two early ones, and says how many there can be until `deadline`."""

    deadline: float
    """By time.monotonic(), when the last step is to end."""
    planned_steps: int
    listener: Listener
    most_steps: int | None = None
    """No more than these, however fast it goes."""
    tested: Sequence[float] = (0.0,)
    """Seconds of a step in each of the equal parts of the training, by a test; what one takes beyond that is the same in all."""
    now: Callable[[], float] = time.monotonic
    _began: float | None = field(default=None, init=False)

    def corrected(self, step: int) -> int | None:
        """The number of steps of the whole training where it is to be corrected now, after `step` steps; else None."""
        within_first_part = min(CORRECTION, 1 / len(self.tested))
        first, last = (max(1, int(share * self.planned_steps)) for share in (FIRST_LOOK, within_first_part))
        if step == first:
            self._began = self.now()
        if step != last or last <= first or self._began is None:
            return None
        seconds_per_step = (self.now() - self._began) / (last - first)
        mean = seconds_per_step + sum(self.tested) / len(self.tested) - self.tested[0]
        remaining = self.deadline - self.now()
        steps = max(step + 1, int((step * seconds_per_step + remaining) / max(mean, 1e-9)))
        steps = min(steps, self.most_steps or steps)
        if steps != self.planned_steps:
            self.listener.say(f"  after {step} steps: {steps} steps fit the time, in place of {self.planned_steps}")
        return steps
