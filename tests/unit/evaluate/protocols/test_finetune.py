"""Fine-tuning: averages of batch norm, and a rate that is too high."""

from pathlib import Path

import pytest

from byol.commands.evaluate import evaluate
from byol.errors import ByolError
from byol.evaluate.protocols import finetune


@pytest.mark.parametrize(("steps_per_epoch", "expected"), [(50, 0.1), (1000, 0.01)])
def test_norm_averages_keep_what_the_paper_says(steps_per_epoch: float, expected: float) -> None:
    assert finetune.newest_share(steps_per_epoch) == pytest.approx(expected)


def test_all_rates_too_high_is_one_sentence(encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(finetune.RATES, "smoke", (1e30,))
    with pytest.raises(ByolError, match="its rate is too high"):
        evaluate(encoder, str(colours), ["finetune"], budget="smoke")
