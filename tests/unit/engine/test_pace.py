"""The time left, and the number of steps that fits until a deadline."""

import math

import pytest

from byol.engine.pace import Deadline, Pace
from byol.engine.schedule import Schedule
from byol.runtime.listener import SILENT, Listener

PLAN = Schedule(0.3, 256, 1000, 10, 0.99)


def test_time_left_is_unknown_after_the_first_step_and_zero_at_the_end() -> None:
    pace = Pace([1.0])
    pace.add(10.0, 1)
    assert math.isnan(pace.seconds_left(PLAN))
    pace.add(12.0, 2)
    assert pace.seconds_left(PLAN) == pytest.approx(2 * 998)
    pace.add(14.0, 1000)
    assert pace.seconds_left(PLAN) == 0


def test_time_left_follows_the_last_minute() -> None:
    pace = Pace([1.0])
    for step in range(100):  # two seconds a step, then one
        pace.add(2.0 * step, step)
    for step in range(100, 200):
        pace.add(200.0 + (step - 100), step)
    assert pace.seconds_left(PLAN) == pytest.approx(801, rel=0.01)


def test_one_slow_step_changes_the_time_left_little() -> None:
    pace = Pace([1.0])
    for step in range(60):
        pace.add(float(step), step)
    before = pace.seconds_left(PLAN)
    pace.add(59.0 + 10.0, 60)
    assert pace.seconds_left(PLAN) < 1.25 * before


def test_restart_forgets_the_pace_before() -> None:
    pace = Pace([1.0])
    pace.add(0.0, 0)
    pace.add(100.0, 10)
    pace.restart()
    pace.add(101.0, 11)
    assert pace.seconds_left(PLAN) == pytest.approx(989)


def test_time_left_counts_later_stages_by_their_cost() -> None:
    pace = Pace([1.0, 3.0])
    pace.add(0.0, 1)
    pace.add(99.0, 100)
    assert pace.seconds_left(PLAN) == pytest.approx(400 + 3 * 500)


def deadline(at: float, times: list[float], listener: Listener = SILENT, most_steps: int | None = None) -> Deadline:
    ticks = iter(times)
    return Deadline(at, listener, most_steps, now=lambda: next(ticks))


def test_plan_that_fits_is_kept() -> None:
    assert deadline(1000, [0, 100]).fitting_steps(100, 1000, 910.0) == 0


@pytest.mark.parametrize(("seconds_left", "steps"), [(1800.0, 100 + 450), (450.0, 100 + 1800), (1e9, 101)])
def test_plan_that_does_not_fit_is_scaled_to_the_time(seconds_left: float, steps: int) -> None:
    assert deadline(1000, [0, 100]).fitting_steps(100, 1000, seconds_left) == steps


def test_deadline_that_has_passed_ends_with_the_next_step() -> None:
    assert deadline(1000, [0, 1100]).fitting_steps(100, 1000, 50.0) == 101


def test_no_more_steps_than_wanted() -> None:
    assert deadline(1000, [0, 100], most_steps=1200).fitting_steps(100, 1000, 450.0) == 1200
    assert deadline(1000, [0, 100], most_steps=1000).fitting_steps(100, 1000, 450.0) == 0


def test_checks_are_some_seconds_apart_and_need_a_known_pace() -> None:
    plan = deadline(1000, [0, 1, 100, 101, 116])
    assert plan.fitting_steps(1, 1000, 1800.0) == 0  # too early
    assert plan.fitting_steps(100, 1000, math.nan) == 0
    assert plan.fitting_steps(101, 1000, 1800.0) > 0
    assert plan.fitting_steps(116, 1000, 1800.0) > 0


def test_only_a_notable_change_that_lasts_is_told() -> None:
    said: list[str] = []
    plan = deadline(1000, [0, 100, 200, 220, 240, 300], Listener(said.append))  # checks are 15 s apart
    plan.fitting_steps(100, 1000, 1000.0)  # a tenth fewer
    assert plan.fitting_steps(200, 910, 1600.0) == 555
    plan.fitting_steps(220, 555, 400.0)  # the neighbour has gone
    plan.fitting_steps(240, 870, 1500.0)
    assert said == []
    plan.fitting_steps(300, 560, 700.0)  # the plan is kept, and has been low for 60 seconds
    assert said == ["  after 300 steps: 560 steps fit into the time instead of 1,000"]
