"""The schedule of a training whose number of steps changes."""

import itertools

import pytest

from byol.engine.schedule import REWARMING, Schedule, Segment

PLAN = Schedule(0.3, 256, 100, 10, 0.99)


def rates(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(step) for step in range(schedule.last_step)]


def test_position_is_the_step_while_the_plan_holds() -> None:
    assert [PLAN.position(step) for step in range(100)] == list(range(100))
    assert PLAN.last_step == 100


@pytest.mark.parametrize("last_step", [40, 101, 700])
def test_moved_end_keeps_the_rate_and_reaches_the_end_of_the_first_plan(last_step: int) -> None:
    moved = PLAN.with_end(30, last_step)
    assert moved.last_step == last_step
    assert rates(moved)[:31] == rates(PLAN)[:31]
    assert moved.learning_rate(last_step) == pytest.approx(0, abs=1e-12)
    assert moved.tau(last_step) == pytest.approx(1)
    assert all(a > b for a, b in itertools.pairwise(rates(moved)[30:]))
    middle = 30 + (last_step - 30) / 2
    if middle == int(middle):
        assert moved.position(int(middle)) == pytest.approx(65)


def test_end_that_moves_twice_and_back_gives_the_first_plan() -> None:
    once = PLAN.with_end(30, 60)
    twice = once.with_end(40, 80)
    assert twice.position(40) == pytest.approx(once.position(40))
    assert rates(twice)[:40] == rates(once)[:40]
    assert PLAN.with_end(30, 100).position(77) == pytest.approx(77)


def test_extended_training_warms_up_to_the_rate_of_a_plan_of_its_whole_length() -> None:
    longer = PLAN.extended(100, 400)
    warm = 100 + round(REWARMING * 300)
    assert longer.learning_rate(100) == 0
    planned = Schedule(0.3, 256, 400, 40, 0.99)
    for step in (warm, 200, 399):
        assert longer.learning_rate(step) == pytest.approx(planned.learning_rate(step), rel=1e-6, abs=1e-9)
    assert longer.tau(100) == pytest.approx(planned.tau(100))


def test_stages_are_equal_parts_of_the_first_plan() -> None:
    assert Schedule(0.3, 256, 10, 0, 0.99).stages(1) == [(0, 10)]
    assert Schedule(0.3, 256, 10, 0, 0.99).stages(3) == [(0, 3), (3, 6), (6, 10)]
    assert Schedule(0.3, 256, 2, 0, 0.99).stages(3) == [(0, 0), (0, 1), (1, 2)]
    moved = PLAN.with_end(60, 80)  # the second half of the first plan has begun at step 50
    assert moved.stages(2) == [(0, 50), (50, 80)]
    assert PLAN.with_end(20, 60).stages(2) == [(0, 35), (35, 60)]


def test_cost_counts_each_stage_with_its_own() -> None:
    schedule = Schedule(0.3, 256, 10, 0, 0.99)
    assert schedule.cost([1024], 3, 10) == 7 * 1024
    assert schedule.cost([256, 1024], 3, 10) == 2 * 256 + 5 * 1024
    assert schedule.cost([256, 1024], 4, 6) == 256 + 1024
    assert schedule.cost([256, 1024], 10, 10) == 0


def test_segment_covers_the_steps_after_it_alone() -> None:
    moved = Schedule(0.3, 256, 100, 10, 0.99, segments=(Segment(50, 75, 50.0),))
    assert moved.position(49) == 49
    assert moved.position(50) == 50
    assert moved.position(51) == 52
    assert moved.position(75) == moved.position(90) == 100


def test_end_that_moves_in_the_warm_up_of_an_extended_training_keeps_the_warm_up() -> None:
    longer = PLAN.extended(100, 1100)  # 20 steps of warm-up
    moved = longer.with_end(105, 900)
    assert moved.learning_rate(106) < 2 * longer.learning_rate(105)
    assert moved.learning_rate(110) == pytest.approx(longer.learning_rate(110), rel=0.05)


def test_end_may_move_thousands_of_times() -> None:
    moved = PLAN
    for step in range(5000):
        moved = moved.with_end(step, 10_000 + step)
    assert moved.stages(2)[-1][1] == moved.last_step == 14_999
    assert moved.cost([1.0], 4999, moved.last_step) == 10_000
