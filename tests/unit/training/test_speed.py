"""The speed test trains whole steps while there is time."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from byol.data.image_folder import ImageFolder
from byol.data.source import ImageSource
from byol.engine.micro_batches import MicroBatch
from byol.engine.state import State
from byol.engine.step import StepResult
from byol.recipes import recipe
from byol.training import speed
from byol.training.speed import images_per_second
from tests.unit.commands.small_estimate import CONFIG, PICTURES, estimated

CHANGED_STEP = 9
"""First step with another number of threads; two steps of each of two sizes, and four more, come before it."""


@pytest.mark.parametrize(
    ("micro_batch", "ranks", "steps"), [(16, 1, [8, 16]), (4, 1, [4, 16]), (2, 1, [2, 8, 16]), (4, 2, [4, 8])]
)
def test_speed_is_measured_on_whole_steps_while_there_is_time(
    micro_batch: int, ranks: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole_step = speed.train_step

    def train_step(state: State, micro_batches: Iterable[MicroBatch], number: int, *how: Any) -> StepResult:
        made = list(micro_batches)
        assert len(made) == number
        seen.append(sum(len(batch.views.view1) for batch in made))
        return whole_step(state, made, number, *how)

    monkeypatch.setattr(speed, "train_step", train_step)
    monkeypatch.setattr(speed, "TRIAL_SECONDS", 1e9)
    config = replace(estimated(PICTURES, CONFIG).config, micro_batch_size=micro_batch)
    seen.clear()
    images = [PICTURES.read(row, 3, 0) for row in range(8)]
    measured = speed.train_a_little(config, images, 3, torch.device("cpu"), ranks)
    assert seen == [size for size in steps for _ in range(2)] + [steps[-1]] * (speed.MOST_STEPS - 1)
    assert measured[1] == steps[-1]


def test_expected_speed_counts_the_work_on_the_same_cores(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.training.speed.num_cores", lambda: 4)
    source, config, cpu = ImageFolder(photos), recipe("small").config, torch.device("cpu")

    def expected(source: ImageSource, device: torch.device = cpu, *, in_memory: bool = False) -> float:
        return images_per_second(100.0, 400.0, source, config, device, in_memory=in_memory)

    assert expected(source) == pytest.approx(1 / (1 / 100 + 1 / 400))
    assert expected(source, in_memory=True) == 100
    assert expected(source, torch.device("cuda")) == 100
    monkeypatch.setattr("byol.training.speed.is_stored", lambda source: True)
    assert expected(source) == pytest.approx(1 / (1 / 100 + 4 / 400))  # cropped by one process alone


def test_steps_with_another_number_of_threads_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of threads changes before the fifth step of the largest size; until then a step takes ten times as long."""
    clock, steps = [0.0], [0]

    class Tuner:
        def check(self) -> bool:
            steps[0] += 1
            return steps[0] == CHANGED_STEP

    @contextlib.contextmanager
    def tuned(*_: Any) -> Iterator[Tuner]:
        yield Tuner()

    def train_step(*_: Any) -> None:
        clock[0] += 0.01 if steps[0] >= CHANGED_STEP else 0.1

    monkeypatch.setattr(speed, "tuned_threads", tuned)
    monkeypatch.setattr(speed, "train_step", train_step)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    config = replace(estimated(PICTURES, CONFIG).config, micro_batch_size=16)
    clock[0], steps[0] = 0.0, 0
    images = [PICTURES.read(row, 3, 0) for row in range(8)]
    assert speed.train_a_little(config, images, 3, torch.device("cpu"))[0] == pytest.approx(16 / 0.01)
