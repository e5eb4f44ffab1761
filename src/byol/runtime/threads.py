"""The number of CPU threads, chosen by measurement while the work goes on.

A training step has thousands of parallel regions, and each waits for its slowest thread. Beside another busy process that
thread has lost its core for some milliseconds, so that one thread per core is several times slower than fewer threads.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from byol.runtime.hardware import num_cores
from byol.runtime.listener import SILENT, Listener

INTERVAL_SECONDS = 3.0
"""Shortest time between two checks."""
MOST_OVERHEAD = 0.02
"""Largest fraction of the time that is spent in checks."""
PULSE_SECONDS = 0.006
"""Length of one speed measurement with one number of threads."""
NUM_PULSES = 3
"""Number of measurements per check and number of threads, alternating."""
GAIN = 1.1
"""Another number of threads replaces the present one if it is this many times as fast."""
CHECKS_TO_RAISE = 2
"""Number of checks in a row after which the number is raised: two busy processes leave both cores free for a moment, too."""
REGION_ELEMENTS = 2**16
"""Elements per thread in a parallel region of the measurement; one region takes about 40 microseconds."""


def possible_threads(most: int) -> list[int]:
    """Numbers of threads to choose from: 1, 2, 3, 4, 6, 8, 12, 16, ..., `most` - 1 and `most`."""
    powers = [2**n for n in range(most.bit_length())]
    return sorted({n for n in (*powers, *(3 * power // 2 for power in powers), most - 1, most) if 1 <= n <= most})


def speed_ratios(threads: int, fewer: int) -> list[float]:
    """Speed of short parallel regions with `threads` threads over that with `fewer`, measured `NUM_PULSES` times.

    Changes torch's number of threads.
    """
    values = torch.zeros(threads * REGION_ELEMENTS)

    def speed(count: int) -> float:
        torch.set_num_threads(count)
        torch.exp_(values.zero_())  # starts the threads
        start_time, regions = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start_time) < PULSE_SECONDS:
            torch.exp(values, out=values).zero_()
            regions += 1
        return regions / elapsed

    return [speed(threads) / speed(fewer) for _ in range(NUM_PULSES)]


@dataclass
class ThreadTuner:
    """Sets torch's number of threads. `check` is called between pieces of work, and measures if it is time to.

    `most`: largest number of threads. `adapts`: whether the number may change.
    """

    most: int
    adapts: bool = True
    listener: Listener = SILENT
    now: Callable[[], float] = time.monotonic
    measure: Callable[[int, int], list[float]] = speed_ratios
    threads: int = field(init=False)
    """Number of threads in use."""

    def __post_init__(self) -> None:
        self.threads = self.most
        self._counts = possible_threads(self.most)
        self._due = float("-inf")
        self._rises = 0
        self._has_told = False

    def check(self) -> None:
        """Measures whether fewer or more threads are faster now, and sets the number; at most once in `INTERVAL_SECONDS`."""
        if not self.adapts or self.most == 1 or (start_time := self.now()) < self._due:
            return
        place = self._counts.index(self.threads)
        while place > 0 and statistics.median(self.measure(self._counts[place], self._counts[place - 1])) < 1 / GAIN:
            place -= 1
        if place < self._counts.index(self.threads):
            self._rises = 0
            self._tell(self._counts[place])
            self.threads = self._counts[place]
        elif place + 1 < len(self._counts):
            more = self._counts[place + 1]
            self._rises = self._rises + 1 if min(self.measure(more, self.threads)) > GAIN else 0
            if self._rises == CHECKS_TO_RAISE:
                self.threads, self._rises = more, 0
        torch.set_num_threads(self.threads)
        end_time = self.now()
        self._due = end_time + max(INTERVAL_SECONDS, (end_time - start_time) / MOST_OVERHEAD)

    def _tell(self, fewer: int) -> None:
        if not self._has_told:
            self._has_told = True
            self.listener.say(
                f"  other processes are busy: {fewer} of {self.most} threads are faster now. The number is adapted all the "
                f"time; --threads fixes it"
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
