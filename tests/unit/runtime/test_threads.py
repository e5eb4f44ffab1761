"""The number of threads that is chosen by measurement."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from byol.runtime.listener import Listener
from byol.runtime.threads import (
    CHECKS_TO_RAISE,
    INTERVAL_SECONDS,
    NUM_PULSES,
    REMEMBERED_SECONDS,
    ThreadTuner,
    _Choice,
    possible_threads,
    region_speeds,
    tuned_threads,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_choice_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.runtime.threads._newest", [_Choice()])


class Machine:
    """A made-up machine of several cores, some of which are taken by others."""

    def __init__(self, cores: int, busy: int = 0) -> None:
        self.cores, self.busy, self.time, self.measured = cores, busy, 0.0, 0
        self.said: list[str] = []

    def speed(self, threads: int) -> float:
        if threads <= self.cores - self.busy:
            return threads
        return 0.5 if threads == 1 else 0.2

    def measure(self, counts: Sequence[int]) -> list[list[float]]:
        self.measured += 1
        return [[self.speed(count)] * 3 for count in counts]

    def tuner(self) -> ThreadTuner:
        return ThreadTuner(self.cores, listener=Listener(self.said.append), now=lambda: self.time, measure=self.measure)

    def wait(self, tuner: ThreadTuner, checks: int = 1) -> None:
        for _ in range(checks):
            self.time += INTERVAL_SECONDS
            tuner.check()


@pytest.mark.parametrize(
    ("most", "counts"),
    [(1, [1]), (2, [1, 2]), (8, [1, 2, 3, 4, 6, 7, 8]), (20, [1, 2, 3, 4, 6, 8, 12, 16, 19, 20])],
)
def test_possible_threads(most: int, counts: list[int]) -> None:
    assert possible_threads(most) == counts


def test_quiet_machine_keeps_all_threads() -> None:
    machine = Machine(8)
    tuner = machine.tuner()
    machine.wait(tuner, 5)
    assert tuner.threads == 8 == torch.get_num_threads()
    assert machine.said == []


@pytest.mark.parametrize(("cores", "busy", "threads"), [(2, 1, 1), (8, 1, 7), (8, 4, 4), (8, 8, 1)])
def test_busy_machine_gets_fewer_threads_at_the_first_check(cores: int, busy: int, threads: int) -> None:
    machine = Machine(cores, busy)
    tuner = machine.tuner()
    assert tuner.check() is True
    assert tuner.threads == threads == torch.get_num_threads()
    assert len(machine.said) == 1 and f"{threads} of {cores} threads" in machine.said[0]


def test_threads_rise_to_the_number_of_free_cores() -> None:
    machine = Machine(8, busy=2)
    tuner = machine.tuner()
    tuner.check()
    assert tuner.threads == 4
    machine.wait(tuner, 4)
    assert tuner.threads == 6
    machine.wait(tuner, 4)
    assert tuner.threads == 6


def test_threads_return_when_the_machine_is_quiet_again() -> None:
    machine = Machine(2, busy=1)
    tuner = machine.tuner()
    tuner.check()
    machine.busy = 0
    machine.wait(tuner, CHECKS_TO_RAISE - 1)
    assert tuner.threads == 1
    machine.wait(tuner)
    assert tuner.threads == 2
    machine.busy = 1
    machine.wait(tuner)
    assert tuner.threads == 1
    assert len(machine.said) == 1  # told once


def test_one_good_moment_raises_nothing() -> None:
    machine = Machine(2, busy=1)
    tuner = machine.tuner()
    tuner.check()
    machine.wait(tuner)
    for _ in range(4):
        machine.busy = 0
        machine.wait(tuner)
        machine.busy = 1
        machine.wait(tuner)
    assert tuner.threads == 1


def test_threads_that_are_slow_for_one_pulse_are_not_raised() -> None:
    """Two threads are twice as fast as one in two pulses of three, and lose their core in the last."""
    machine = Machine(2, busy=1)
    tuner = machine.tuner()
    tuner.check()
    tuner.measure = lambda counts: [[1.0, 1.0, 1.0] if count == 1 else [2.0, 2.0, 0.1] for count in counts]
    machine.wait(tuner, 2 * CHECKS_TO_RAISE)
    assert tuner.threads == 1


def test_next_tuner_starts_with_the_number_chosen_last() -> None:
    machine = Machine(8, busy=4)
    machine.tuner().check()
    assert machine.tuner().threads == 4
    assert machine.tuner().check() is False  # the last check was just now
    machine.time += 2 * REMEMBERED_SECONDS
    assert machine.tuner().threads == 8


def test_first_checks_follow_each_other_and_later_ones_are_rare() -> None:
    machine = Machine(2)
    tuner, times = machine.tuner(), []
    for _ in range(1200):
        before = machine.measured
        tuner.check()
        times += [machine.time] * (machine.measured - before)
        machine.time += 0.01
    assert np.diff(times).round(1).tolist() == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0]


def test_first_check_that_saw_free_cores_is_corrected_within_moments() -> None:
    machine = Machine(2)
    tuner = machine.tuner()
    tuner.check()
    machine.busy = 1
    machine.time += 0.11
    assert tuner.check() is True and tuner.threads == 1


def test_first_checks_do_not_raise() -> None:
    machine = Machine(2, busy=1)
    tuner = machine.tuner()
    tuner.check()
    machine.busy = 0
    for _ in range(280):
        machine.time += 0.01
        tuner.check()
    assert machine.measured > 3 and tuner.threads == 1


def test_slow_checks_are_rarer() -> None:
    machine = Machine(2)
    measure = machine.measure

    def slow(counts: Sequence[int]) -> list[list[float]]:
        machine.time += 10.0
        return measure(counts)

    tuner = ThreadTuner(2, now=lambda: machine.time, measure=slow)
    machine.wait(tuner, 1000)
    before = machine.measured
    machine.wait(tuner, 500)
    assert machine.measured - before == 3  # two per cent of the time: once in 500 s


@pytest.fixture
def free_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_number_before_is_restored(free_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.runtime.threads.num_cores", lambda: 2)
    with tuned_threads(CPU) as tuner:
        assert tuner.adapts
        torch.set_num_threads(1)
    assert torch.get_num_threads() == 2


def test_given_number_is_fixed(free_environment: None) -> None:
    with tuned_threads(CPU, 1) as tuner:
        assert not tuner.adapts
        assert tuner.threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_number_of_the_environment_and_of_a_gpu_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tuned_threads(CPU) as tuner:
        assert not tuner.adapts  # OMP_NUM_THREADS is set for all tests
    monkeypatch.delenv("OMP_NUM_THREADS")
    with tuned_threads(torch.device("cuda")) as tuner:
        assert not tuner.adapts


def test_region_speeds_are_measured() -> None:
    speeds = region_speeds([2, 1])
    assert [len(pulses) for pulses in speeds] == [NUM_PULSES, NUM_PULSES]
    assert all(speed > 0 for pulses in speeds for speed in pulses)
    torch.set_num_threads(1)
