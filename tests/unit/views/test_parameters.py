"""Draws: a pure function of (seed, step, view, row)."""

import pytest
import torch

from byol.views.parameters import draw
from byol.views.policy import T


def test_draw_rows_do_not_depend_on_the_batch_size() -> None:
    few, many = draw(T, 4, 7, 11, 1), draw(T, 64, 7, 11, 1)
    assert torch.equal(few.area, many[:4].area)
    assert torch.equal(few.sigma, many[:4].sigma)


@pytest.mark.parametrize("other", [(8, 11, 1), (7, 12, 1), (7, 11, 2)])
def test_draw_another_seed_step_or_view_gives_other_numbers(other: tuple[int, int, int]) -> None:
    assert not torch.equal(draw(T, 8, 7, 11, 1).brightness, draw(T, 8, *other).brightness)
