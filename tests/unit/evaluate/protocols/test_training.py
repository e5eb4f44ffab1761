"""What protocols that train share: grids, the split for validation, the end of a grid."""

from types import SimpleNamespace

import numpy as np
import pytest

from byol.data.arrays import ArrayImages
from byol.evaluate.protocols import finetune, linear_fast, linear_sgd, semi, training
from byol.evaluate.protocols.protocol import Job


def test_paper_budget_is_the_papers_grid() -> None:
    assert linear_sgd.RATES["paper"] == (0.4, 0.3, 0.2, 0.1, 0.05)
    assert (linear_sgd.EPOCHS["paper"], linear_sgd.BATCH_SIZE["paper"]) == (80, 1024)
    assert set(semi.RATES["paper"]) == {0.005, 0.01, 0.02, 0.05, 0.1}
    assert (semi.EPOCHS["paper"], semi.BATCH_SIZE["paper"]) == ((30, 50), 1024)
    cells = finetune.grid(finetune.RATES["paper"], finetune.DECAYS["paper"], "paper", 50_000, finetune.STEPS)
    assert len(cells) == 7 * 8
    assert {(cell.steps, cell.batch_size) for cell in cells} == {(20_000, 256)}
    assert (cells[0].rate, cells[-1].rate) == pytest.approx((1e-4, 1e-1))
    assert cells[0].weight_decay == 0
    assert cells[-1].weight_decay == pytest.approx(1e-3 / 1e-1)
    scratch = finetune.grid(
        finetune.SCRATCH_RATES["paper"], finetune.SCRATCH_DECAYS["paper"], "paper", 50_000, finetune.SCRATCH_STEPS
    )
    assert (len(scratch), scratch[0].steps) == (56, 40_000)
    assert (scratch[0].rate, scratch[-1].rate) == pytest.approx((1e-3, 1))
    decays = sorted({round(cell.weight_decay * cell.rate, 9) for cell in scratch})
    assert decays == pytest.approx([10**-e for e in (5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5)], rel=1e-3)
    strengths = linear_fast.STRENGTHS["paper"]
    assert len(strengths) == 45
    assert (strengths[0], strengths[-1]) == pytest.approx((1e5, 1e-6))


def test_small_budgets_are_small() -> None:
    for rates in (semi.RATES, finetune.RATES, finetune.SCRATCH_RATES):
        assert len(rates["default"]) <= 3
    assert linear_sgd.LEAST_STEPS["default"] * linear_sgd.BATCH_SIZE["default"] <= 10 * 9000
    assert max(linear_sgd.EPOCHS["default"], *semi.EPOCHS["default"], finetune.EPOCHS["default"]) <= 10


def test_rate_at_an_end_of_its_grid_is_told() -> None:
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0), (0.2, 60.0)]).startswith(
        "the highest of 3 rates, 0.4, did best"
    )
    assert training.end_of_grid([(0.1, 80.0), (0.4, 70.0), (0.2, 60.0)]).startswith(
        "the lowest of 3 rates, 0.1, did best"
    )
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0), (0.2, 70.0)]) == "", "one between does as well"
    assert training.end_of_grid([(0.1, 50.0), (0.4, 70.0)]) == "", "two rates are ends alone"


def test_small_budget_cuts_both_parts_and_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1], [9_000, 3_000])
    source = ArrayImages(np.zeros((12_000, 1, 1, 1), np.uint8), labels)
    for own in (None, np.concatenate((np.arange(3_000), np.arange(9_000, 10_000)))):
        job = SimpleNamespace(train=source, budget="default", seed=0, validation=own)
        job.held_out = lambda share, job=job: Job.held_out(job, share)
        train, validation = training.split(job)  # pyright: ignore[reportArgumentType]
        assert train.labels is not None
        assert np.mean(train.labels) == pytest.approx(0.25, abs=0.01)
        assert (len(train), len(validation)) == (9_000 if own is None else 8_000, 1_000)
        assert not set(train.indices) & set(validation.indices)
