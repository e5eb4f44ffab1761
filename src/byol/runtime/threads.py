"""The number of CPU threads, chosen by measurement while the work goes on.

A training step has thousands of parallel regions, and each waits for its slowest thread. Beside another busy process that
thread has lost its core for some milliseconds, so that one thread per core is several times slower than fewer threads.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import truediv

import torch

from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener

FIRST_INTERVAL, INTERVAL_SECONDS = 0.1, 3.0
"""Shortest time between the first two checks and between later ones; it doubles with each check, since the first may see a
moment in which the cores are free."""
MOST_OVERHEAD = 0.02
"""Largest fraction of the time that is spent in checks, but for the first ones."""
PULSE_SECONDS = 0.006
"""Length of one speed measurement with one number of threads."""
NUM_PULSES = 5
"""Number of measurements per check and number of threads, alternating."""
GAIN = 1.1
"""Smallest ratio of speeds at which another number of threads is taken."""
CHECKS_TO_RAISE = 3
"""Number of checks in a row that must find more threads faster: a single one may see a moment in which the cores are free."""
REGION_ELEMENTS = 2**16
"""Elements per thread in a parallel region of the measurement; one region takes about 40 microseconds."""


def possible_threads(most: int) -> list[int]:
    """Numbers of threads to choose from: 1, 2, 3, 4, 6, 8, 12, 16, ..., `most` - 1 and `most`."""
    powers = [2**n for n in range(most.bit_length())]
    return sorted({n for n in (*powers, *(3 * power // 2 for power in powers), most - 1, most) if 1 <= n <= most})


def region_speeds(counts: Sequence[int]) -> list[list[float]]:
    """Short parallel regions per second with each number of threads, measured `NUM_PULSES` times, alternating.

    Changes torch's number of threads.
    """
    values = torch.zeros(max(counts) * REGION_ELEMENTS)

    def speed(count: int) -> float:
        torch.set_num_threads(count)
        torch.exp_(values.zero_())  # starts the threads
        start_time, regions = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start_time) < PULSE_SECONDS:
            torch.exp(values, out=values).zero_()
            regions += 1
        return regions / elapsed

    return [
        list(pulses) for pulses in zip(*([speed(count) for count in counts] for _ in range(NUM_PULSES)), strict=True)
    ]


REMEMBERED_SECONDS = 60.0
"""Time for which a new tuner continues with the choice of the one before."""


@dataclass
class _Choice:
    """The newest choice of a tuner in this process."""

    threads: int = 0
    checked: float = float("-inf")
    """Time of the last check."""
    due: float = float("-inf")
    """Time of the next check."""
    interval: float = FIRST_INTERVAL
    """Shortest time between the last check and the next."""
    rises: int = 0
    """Number of checks in a row in which more threads were faster."""


_newest = [_Choice()]


@dataclass
class ThreadTuner:
    """Sets torch's number of threads. `check` is called between pieces of work, and measures if it is time to: often in the first
    seconds, then every `INTERVAL_SECONDS`.

    `most`: largest number of threads. `adapts`: whether the number may change.
    """

    most: int
    adapts: bool = True
    listener: Listener = SILENT
    now: Callable[[], float] = time.monotonic
    measure: Callable[[Sequence[int]], list[list[float]]] = region_speeds
    threads: int = field(init=False)
    """Number of threads in use."""

    def __post_init__(self) -> None:
        self._counts = possible_threads(self.most)
        self.threads = self.most
        self._choice = _Choice()
        if self.adapts and _newest[0].threads in self._counts and self.now() < _newest[0].due + REMEMBERED_SECONDS:
            self._choice = _newest[0]
            self.threads = self._choice.threads
        self._has_told = False

    def check(self) -> bool:
        """Measures whether fewer or more threads are faster now, and sets the number; after the first few checks at most
        once in `INTERVAL_SECONDS`.

        Returns whether the number has changed.
        """
        if not self.adapts or self.most == 1 or (start_time := self.now()) < self._choice.due:
            return False
        before, place, rises = self.threads, self._counts.index(self.threads), 0
        fewer = sorted({1, self.threads // 2, self._counts[max(place - 1, 0)]} & set(self._counts) - {self.threads})
        more = self._counts[place + 1 : place + 2]
        present, *others = self.measure([self.threads, *fewer, *more])
        gains = [sum(other) / sum(present) for other in others[: len(fewer)]]
        if gains and max(gains) > GAIN:
            self.threads = fewer[gains.index(max(gains))]
            self._tell()
        elif more and min(map(truediv, others[-1], present)) > GAIN:
            rises = self._choice.rises + (start_time >= self._choice.checked + INTERVAL_SECONDS)
            if rises == CHECKS_TO_RAISE:
                self.threads, rises = more[0], 0
        torch.set_num_threads(self.threads)
        end_time = self.now()
        interval = self._choice.interval
        pause = interval * max(1.0, (end_time - start_time) / (MOST_OVERHEAD * INTERVAL_SECONDS))
        later = min(2 * interval, INTERVAL_SECONDS)
        self._choice = _newest[0] = _Choice(self.threads, end_time, end_time + pause, later, rises)
        return self.threads != before

    def _tell(self) -> None:
        if not self._has_told:
            self._has_told = True
            self.listener.say(
                f"  other processes are busy: {self.threads} of {self.most} threads are faster now. The number is adapted "
                f"every few seconds; --threads fixes it"
            )


@contextlib.contextmanager
def tuned_threads(device: torch.device, threads: int = 0, listener: Listener = SILENT) -> Iterator[ThreadTuner]:
    """Context with a tuner of torch's number of threads; the number before is restored at its end.

    `threads` > 0 fixes the number, as OMP_NUM_THREADS does. Only work on a CPU is tuned.
    """
    before = torch.get_num_threads()
    adapts = device.type == "cpu" and not threads and "OMP_NUM_THREADS" not in os.environ
    tuner = ThreadTuner(threads or min(before, num_cores()), adapts, listener)
    try:
        torch.set_num_threads(tuner.threads)
        tuner.check()
        yield tuner
    finally:
        torch.set_num_threads(before)
