"""The pace of a training: the time left, and the number of steps that fit until a deadline."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from byol.engine.schedule import Schedule
from byol.runtime.listener import Listener

WINDOW_SECONDS = 60.0
"""Time over which the pace is measured."""
SHORTEST_CHECK, LONGEST_CHECK = 2.0, 15.0
"""Range of the time between two checks of a plan, in seconds."""
CHECKS = 40
"""Number of checks in a training of 80 seconds to 10 minutes."""
TOLERANCE = 0.03
"""Largest deviation of the expected end from the deadline, as a fraction of the remaining time, at which a plan is kept."""
NOTABLE_CHANGE = 0.25
"""Smallest change of the number of steps that is reported, relative to the last reported number."""
LASTING_CHECKS = 4
"""Number of intervals between checks for which a change must last to be reported."""


class Pace:
    """Seconds per unit of cost, measured over the last minute. `costs`: relative cost of a step in each stage."""

    def __init__(self, costs: Sequence[float]) -> None:
        self.costs = costs
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, step: int) -> None:
        """Records that `step` steps are finished at the time `now`, in seconds."""
        self._samples.append((now, step))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()

    def restart(self) -> None:
        """Forgets the past, because the speed has changed for a known reason."""
        while len(self._samples) > 1:
            self._samples.popleft()

    def seconds_left(self, schedule: Schedule) -> float:
        """Seconds from the newest step to the end of the schedule; NaN before the second step."""
        (first_time, first), (last_time, last) = self._samples[0], self._samples[-1]
        if first == last:
            return 0.0 if last >= schedule.last_step else math.nan
        seconds_per_cost = (last_time - first_time) / max(schedule.cost(self.costs, first, last), 1e-9)
        return seconds_per_cost * schedule.cost(self.costs, last, schedule.last_step)


@dataclass
class Deadline:
    """Time at which a training should end, and the number of steps that fit until then."""

    at: float
    """Time at which the last step should end, in seconds of time.monotonic()."""
    listener: Listener
    most_steps: int | None = None
    """Largest number of steps, even if there is time for more; None: no limit."""
    now: Callable[[], float] = time.monotonic
    _next_check: float = field(init=False)
    _reported: int = field(default=0, init=False)
    _changed_at: float | None = field(default=None, init=False)
    """Time since which the number of steps differs notably from the reported one."""

    def __post_init__(self) -> None:
        start_time = self.now()
        self._interval = min(max((self.at - start_time) / CHECKS, SHORTEST_CHECK), LONGEST_CHECK)
        self._next_check = start_time + 2 * self._interval

    def fitting_steps(self, step: int, total_steps: int, seconds_left: float) -> int:
        """The total number of steps that fits, if a check is due and the plan does not fit; else 0.

        `seconds_left`: expected time to the end of the present plan after `step` of `total_steps`.
        """
        now = self.now()
        if now < self._next_check or not seconds_left > 0:
            return 0
        self._next_check = now + self._interval
        remaining = max(self.at - now, 0.0)
        steps = total_steps
        if abs(remaining - seconds_left) > TOLERANCE * remaining:
            steps = step + max(1, int((total_steps - step) * remaining / seconds_left))
            steps = min(steps, max(self.most_steps or steps, step + 1))
        self._report(now, step, steps, total_steps)
        return steps if steps != total_steps else 0

    def _report(self, now: float, step: int, steps: int, total_steps: int) -> None:
        self._reported = self._reported or total_steps
        if abs(steps - self._reported) <= NOTABLE_CHANGE * self._reported:
            self._changed_at = None
        elif self._changed_at is None:
            self._changed_at = now
        elif now >= self._changed_at + LASTING_CHECKS * self._interval:
            self.listener.say(
                f"  after {step:,} steps: {steps:,} steps fit into the time instead of {self._reported:,}"
            )
            self._reported, self._changed_at = steps, None
