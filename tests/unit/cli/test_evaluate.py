"""`byol evaluate`: which protocols it runs, and what it prints."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from byol.cli.evaluate import Evaluate, _is_below_hog, run_evaluate
from byol.cli.main import main
from byol.commands.evaluate import Result, evaluate
from byol.data.spec import DataSpec
from byol.errors import DataError
from byol.evaluate.protocols import linear_sgd
from byol.evaluate.protocols.options import PROTOCOLS
from byol.evaluate.scores import Score


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

    def ask(run: str, data: DataSpec, protocols: tuple[str, ...], **how: object) -> None:
        asked.append(protocols)
        raise DataError("no images")

    monkeypatch.setattr("byol.commands.evaluate.evaluate", ask)
    for run in ("hog", "runs/photos"):
        with pytest.raises(DataError, match="no images"):
            run_evaluate(Evaluate(run=run, data="photos", protocol=("all",)))
    assert asked == [("knn", "linear", "linear-fast", "few-labels", "retrieval", "cluster"), tuple(PROTOCOLS)]
    assert capsys.readouterr().out == "hog has no weights to train; left out: semi, finetune, supervised\n"


def test_hog_is_shown_beside_knn_and_an_earlier_result_is_said(
    encoder: Path, colours: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", str(encoder), "--data", str(colours), "--protocol", "knn", "--budget", "smoke"]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    shown, results = capsys.readouterr().out, encoder / "evaluation"
    (by_hog,) = evaluate("hog", str(colours), "knn", budget="smoke", out=encoder.parent / "hog")
    assert re.search(rf"(?m)^knn by hog +top-1 +{re.escape(str(by_hog.score))}$", shown)
    assert "earlier" not in shown and "hog" not in by_hog.record
    record = json.loads((results / "knn.json").read_text())
    assert record["hog"]["top-1"] == asdict(by_hog.score)
    monkeypatch.setattr("byol.commands.evaluate.MOST_COMPARED", 89)
    with pytest.raises(SystemExit, match="0"):
        main(words)
    shown = capsys.readouterr().out
    assert f"the earlier knn.json is now {results / 'earlier' / 'knn-1.json'}" in shown
    assert "knn by hog is left out: there are more than 89 images" in shown and "by hog:" not in shown


@pytest.mark.parametrize(("value", "below"), [(52.9, True), (62.4, False), (70.0, False)])
def test_encoder_is_compared_with_hog_on_the_metrics_of_both(value: float, below: bool) -> None:
    metrics = {"top-1": Score(value, 0, 100), "top-5": Score(1, 0, 100)}
    record = {"hog": {"top-1": asdict(Score(62.4, 0, 100))}}
    assert _is_below_hog(Result("knn", metrics, record, Path())) is below
    assert not _is_below_hog(Result("knn", metrics, {}, Path()))
