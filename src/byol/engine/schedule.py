"""Learning rate and target decay rate as functions of the step, also after the number of steps has changed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from byol.optim.schedules import learning_rate, scale_tau, target_tau

REWARMING = 0.02
"""Length of the warm-up in a training that was extended, as a fraction of its new steps."""


@dataclass(frozen=True)
class Segment:
    """The rest of a schedule after the number of steps has changed.

    The rest of the first plan, from `position` to its end, is stretched to the steps from `first_step` to `last_step`.
    """

    first_step: int
    last_step: int
    """Number of steps of the whole training."""
    position: float
    """Position in the first plan at `first_step`, in steps of that plan."""
    warmup_steps: int = 0
    """Number of steps over which the learning rate rises from 0, because the position went back."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate and target decay rate tau as functions of the step (BYOL sections 3.2 and 3.3).

    Differs from the paper: `segments`, `tau_constant` and `tau_reference_batch`, if set.
    """

    base_learning_rate: float
    batch_size: int
    total_steps: int
    """Number of steps of the first plan."""
    warmup_steps: int
    tau_base: float
    tau_constant: bool = False
    tau_reference_batch: int = 0
    segments: tuple[Segment, ...] = ()
    """Changes of the number of steps, in their order."""

    @property
    def last_step(self) -> int:
        """Number of steps of the training by its newest plan."""
        return self.segments[-1].last_step if self.segments else self.total_steps

    def learning_rate(self, step: int) -> float:
        rate = learning_rate(
            self.position(step),
            base=self.base_learning_rate,
            batch_size=self.batch_size,
            total=self.total_steps,
            warmup=self.warmup_steps,
        )
        for segment in self.segments:  # the warm-up continues if the end moves meanwhile
            if segment.first_step <= step < segment.first_step + segment.warmup_steps:
                rate *= (step - segment.first_step) / segment.warmup_steps
        return rate

    def tau(self, step: int) -> float:
        position = self.position(step)
        tau = self.tau_base if self.tau_constant else target_tau(position, base=self.tau_base, total=self.total_steps)
        return scale_tau(tau, self.batch_size, self.tau_reference_batch) if self.tau_reference_batch else tau

    def position(self, step: int) -> float:
        """Position in the first plan, in its steps; equals `step` while there are no segments."""
        segment = self._segment(step)
        if segment is None:
            return step
        fraction = (step - segment.first_step) / (segment.last_step - segment.first_step)
        return segment.position + min(fraction, 1.0) * (self.total_steps - segment.position)

    def with_end(self, step: int, last_step: int) -> "Schedule":
        """The schedule that goes on from its position at `step` and ends at `last_step`."""
        return replace(self, segments=(*self.segments, Segment(step, last_step, self.position(step))))

    def extended(self, step: int, last_step: int) -> "Schedule":
        """The schedule of a training that is lengthened after its rate had fallen.

        Its position becomes that of a training planned for `last_step` steps. The learning rate rises from 0 to that of this position.
        """
        position = min(self.position(step), self.total_steps * step / last_step)
        rewarming = math.ceil(REWARMING * (last_step - step))
        return replace(self, segments=(*self.segments, Segment(step, last_step, position, rewarming)))

    def stages(self, count: int) -> list[tuple[int, int]]:
        """(first step, step after the last) of each of `count` stages, equally long in the first plan."""
        starts = [self._first_step_at(self.total_steps * number // count) for number in range(count)]
        return list(pairwise((*starts, self.last_step)))

    def cost(self, costs: Sequence[float], first_step: int, last_step: int) -> float:
        """Total cost of the steps [first_step, last_step); `costs`: cost of a step in each stage."""
        parts = zip(costs, self.stages(len(costs)), strict=True)
        return sum(cost * max(0, min(last, last_step) - max(first, first_step)) for cost, (first, last) in parts)

    def _segment(self, step: int) -> Segment | None:
        return next((segment for segment in reversed(self.segments) if segment.first_step <= step), None)

    def _first_step_at(self, position: int) -> int:
        """First step at or after a position of the first plan."""
        for segment in reversed(self.segments):
            if position > segment.position:
                stretch = (segment.last_step - segment.first_step) / (self.total_steps - segment.position)
                return segment.first_step + math.ceil((position - segment.position) * stretch - 1e-9)
        return position
