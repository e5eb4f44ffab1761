"""Measures of maps: collapsed cells, images that are one colour each, one pattern in every image, and isotropic cells."""

import pytest
import torch

from byol.diagnostics import cells
from byol.diagnostics.cells import measure_cells


def test_equal_cells_have_rank_1_and_no_spread() -> None:
    found = measure_cells([torch.full((5, 3, 4), 2.0), torch.full((5, 6, 2), 7.0)])
    assert found["effective_rank"] == pytest.approx(1) and found["spread"] == pytest.approx(0, abs=1e-12)
    assert found["dimensions"] == 5


def test_spread_is_between_images_of_one_vector_each_and_within_images_of_one_pattern() -> None:
    flat = [torch.eye(4)[:, number, None, None].expand(4, 3, 3) for number in range(4)]
    found = measure_cells(flat)
    assert found["spread_within"] == pytest.approx(0) and found["spread_between"] == pytest.approx(0.75)
    assert found["effective_rank"] == pytest.approx(4)
    pattern = torch.eye(4).view(4, 2, 2)
    found = measure_cells([pattern, pattern.flip(1), pattern.flip(2)])
    assert found["spread_between"] == pytest.approx(0) and found["spread_within"] == pytest.approx(0.75)


def test_isotropic_cells_use_every_direction_and_the_sample_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(8, 20, 20, generator=generator) for _ in range(4)]
    found = measure_cells(maps)
    assert found["effective_rank"] == pytest.approx(8, abs=0.05) and found["spread"] == pytest.approx(1, abs=0.01)
    assert found["spread"] == pytest.approx(found["spread_between"] + found["spread_within"])
    monkeypatch.setattr(cells, "MOST_CELLS", 4)  # one of each image
    assert measure_cells(maps)["effective_rank"] <= 4


def test_a_length_of_vectors_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(6, 4, 5, generator=generator) for _ in range(3)]
    longer = [values * (1 + torch.rand(4, 5, generator=generator)) for values in maps]
    for name, value in measure_cells(maps).items():
        assert measure_cells(longer)[name] == pytest.approx(value)
