"""The speed test trains whole steps while there is time."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from byol.engine.micro_batches import MicroBatch
from byol.engine.state import State
from byol.engine.step import StepResult
from byol.training import speed
from tests.unit.commands.small_estimate import CONFIG, PICTURES, estimated


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
    assert seen == [size for size in steps for _ in range(3)] + [steps[-1]] * (speed.MOST_STEPS - 2)
    assert measured[1] == steps[-1]
