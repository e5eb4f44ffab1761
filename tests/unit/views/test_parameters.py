"""Draws: a pure function of (seed, step, view, row)."""

import dataclasses

import pytest
import torch

from byol.views import parameters
from byol.views.parameters import FIRST_STREAM, SCALARS, draw, uniform_columns
from byol.views.policy import T_PRIME, T, ViewPolicy
from tests.parity.test_components import golden

SIMCLR = ViewPolicy(
    crop_area=(0.25, 1.0), crop_aspect=(0.5, 1.5), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2,
    blur_probability=0.5, blur_sigma=(0.2, 1.5), solarize_threshold=0.3,
)  # fmt: skip


SENSOR = ViewPolicy(
    vertical_flip_probability=0.5, rotation_probability=0.75, band_jitter_probability=0.8, band_drop_probability=0.2,
    noise_probability=0.5,
)  # fmt: skip
NOT_IN_THE_PAPER = {
    "vertical_flip", "quarter_turns", "band_jitter", "band_jitter_seed", "band_drop_seed", "noise", "noise_sigma", "noise_seed",
}  # fmt: skip


@pytest.fixture(params=["as it is", "with a made-up operation"])
def _operations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "with a made-up operation":
        monkeypatch.setattr(parameters, "SCALARS", (*SCALARS, "posterize", "posterize_bits"))


@pytest.mark.usefixtures("_operations")
@pytest.mark.parametrize(("name", "policy"), [("T", T), ("T_PRIME", T_PRIME), ("simclr", SIMCLR)])
def test_draw_keeps_the_views_of_every_seed(name: str, policy: ViewPolicy) -> None:
    """The recorded draws of four steps; further operations, which draw further numbers, leave them as they are."""
    recorded = golden("view_draws")
    for step in range(4):
        for view in (1, 2):
            drawn = draw(policy, 5, 7, step, view)
            for field in dataclasses.fields(drawn):
                if field.name in NOT_IN_THE_PAPER:
                    assert not bool(getattr(drawn, field.name).any()) or field.name == "noise_sigma"
                    continue
                expected = torch.from_numpy(recorded[f"{name}.{field.name}"][step, view - 1])
                assert torch.equal(getattr(drawn, field.name), expected), (field.name, step, view)


def test_draws_of_operations_that_the_paper_has_not_leave_the_others_as_they_are() -> None:
    paper, further = draw(T, 64, 7, 11, 1), draw(SENSOR, 64, 7, 11, 1)
    for field in dataclasses.fields(paper):
        same = torch.equal(getattr(paper, field.name), getattr(further, field.name))
        assert same == (field.name not in NOT_IN_THE_PAPER), field.name
    for name in ("vertical_flip", "rotation", "band_jitter", "band_drop", "noise"):
        alone = draw(
            dataclasses.replace(T, **{f"{name}_probability": getattr(SENSOR, f"{name}_probability")}), 64, 7, 11, 1
        )
        drawn = [f for f in NOT_IN_THE_PAPER if not torch.equal(getattr(alone, f), getattr(paper, f))]
        assert drawn and all(torch.equal(getattr(alone, f), getattr(further, f)) for f in drawn), name


def test_uniform_columns_left_out_change_no_other() -> None:
    columns = FIRST_STREAM + 3
    some = uniform_columns(columns, 64, 7, 11, 1, left_out=[columns - 2])
    assert not bool(some[:, -2].any())
    some[:, -2] = uniform_columns(columns, 64, 7, 11, 1)[:, -2]
    assert torch.equal(some, uniform_columns(columns, 64, 7, 11, 1))


def test_uniform_columns_behind_the_first_stream_are_their_own() -> None:
    all_columns = uniform_columns(FIRST_STREAM + 3, 64, 7, 11, 1)
    for columns in (FIRST_STREAM, FIRST_STREAM + 1, FIRST_STREAM + 2):
        assert torch.equal(uniform_columns(columns, 64, 7, 11, 1), all_columns[:, :columns])
    assert torch.equal(uniform_columns(FIRST_STREAM + 3, 8, 7, 11, 1), all_columns[:8])
    assert len(all_columns.flatten().unique()) == all_columns.numel()
    assert float(all_columns[:, FIRST_STREAM:].mean()) == pytest.approx(0.5, abs=0.1)
    for other in ((8, 11, 1), (7, 12, 1), (7, 11, 2)):
        assert not torch.equal(uniform_columns(FIRST_STREAM + 1, 64, *other)[:, -1], all_columns[:, FIRST_STREAM])


def test_draw_rows_do_not_depend_on_the_batch_size() -> None:
    few, many = draw(T, 4, 7, 11, 1), draw(T, 64, 7, 11, 1)
    assert torch.equal(few.area, many[:4].area)
    assert torch.equal(few.sigma, many[:4].sigma)


@pytest.mark.parametrize("other", [(8, 11, 1), (7, 12, 1), (7, 11, 2)])
def test_draw_another_seed_step_or_view_gives_other_numbers(other: tuple[int, int, int]) -> None:
    assert not torch.equal(draw(T, 8, 7, 11, 1).brightness, draw(T, 8, *other).brightness)
