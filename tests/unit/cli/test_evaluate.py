"""`byol evaluate`: which protocols it runs, and what it prints."""

import json
from pathlib import Path

import pytest

from byol.cli.evaluate import Evaluate, run_evaluate
from byol.cli.main import main
from byol.data.spec import DataSpec
from byol.errors import DataError
from byol.evaluate.protocols import linear_sgd
from byol.evaluate.protocols.options import PROTOCOLS

pytestmark = pytest.mark.usefixtures("one_thread")


def test_caution_is_recorded_and_printed(
    encoder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(linear_sgd.RATES, "smoke", (1e-9, 2e-9, 0.4))
    monkeypatch.setitem(linear_sgd.LEAST_STEPS, "smoke", 40)
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(encoder), "--data", str(colours), "--protocol", "linear", "--budget", "smoke"])
    assert "linear: the highest of 3 rates, 0.4, did best on the validation images" in capsys.readouterr().out
    record = json.loads((encoder / "evaluation" / "linear.json").read_text())
    assert record["caution"].startswith("the highest of 3 rates")


def test_all_protocols_of_a_baseline_are_those_without_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def evaluate(run: str, data: DataSpec, protocols: tuple[str, ...], **how: object) -> None:
        asked.append(protocols)
        raise DataError("no images")

    monkeypatch.setattr("byol.commands.evaluate.evaluate", evaluate)
    for run in ("hog", "runs/photos"):
        with pytest.raises(DataError, match="no images"):
            run_evaluate(Evaluate(run=run, data="photos", protocol=("all",)))
    assert asked == [("knn", "linear", "linear-fast", "retrieval", "cluster"), tuple(PROTOCOLS)]
    assert capsys.readouterr().out == "hog has no weights to train; left out: semi, finetune, supervised\n"
