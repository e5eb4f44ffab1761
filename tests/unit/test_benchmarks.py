"""Every benchmark runs, at sizes that tell nothing about speed."""

import ast
import importlib.util
import json
import sys
from argparse import Namespace
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import (
    closed_form,
    collapse_studies,
    folder_index,
    knn,
    linear_fast,
    loader,
    memory,
    optimizer,
    peers,
    plot,
    startup,
    tonight,
    train_step,
)
from benchmarks.images import write_folder
from benchmarks.record import Record, publish, record
from benchmarks.trainings import Training, run
from PIL import Image

from byol.runtime.hardware import choose_precision

ROOT = Path(__file__).parents[2]

PRECISION = choose_precision("auto", torch.device("cpu"))
"""bf16 only where the processor computes in it: a full-size encoder takes minutes in an emulation."""
SCHEMA = {"benchmark", "what", "command", "date", "machine", "seed", "settings", "unit", "higher_is_better", "rows"}


def check(found: Record, rows: set[str]) -> None:
    assert set(found) == SCHEMA | {"times_better"}
    assert {row["name"] for row in found["rows"]} >= rows
    assert all(0 <= row["min"] <= row["median"] <= row["max"] and row["n"] > 0 for row in found["rows"])
    assert found["machine"]["versions"]["torch"]
    json.dumps(found)


def test_record_ratio_is_of_medians_and_says_how_many_times_better(tmp_path: Path) -> None:
    rates = {"ours": [10.0, 30.0, 20.0], "other": [5.0, 10.0, 10.0]}
    found = record("x", "what", "images/s", rates, higher_is_better=True, ratios=[("ours", "other"), ("ours", "gone")])
    assert found["times_better"] == {"ours / other": {"median": 2.0, "min": 2.0, "max": 3.0}}
    seconds = record("x", "what", "s", rates, ratios=[("other", "ours")])
    assert seconds["times_better"]["other / ours"]["median"] == 2.0
    publish(found, str(tmp_path / "new" / "x.json"))
    plot.main([str(tmp_path / "new" / "x.json")], str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_training_makes_the_counted_steps(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "", 20, 16)
    sizes = {"size": 16, "batch": 4, "hidden": 16, "workers": 0, "warmup": 1, "steps": 2}
    found = run(Training("ours", str(folder), precision=PRECISION, **sizes))
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0
    assert found["peak_megabytes"] >= found["imported_megabytes"] and found["matrix_peak"] > 0


def test_tonight_trains_another_for_the_time_and_scores_it(tmp_path: Path) -> None:
    labelled = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    for split, (label, image) in product(("train", "test"), enumerate(labelled)):
        path = tmp_path / split / str(label % 2) / f"{label}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    chosen = Namespace(data=str(tmp_path), size=16, seed=0, minutes=0.02, python=sys.executable)
    found = tonight.lightly(chosen, name="plain", precision=PRECISION, stem="small", batch=4, hidden=16, workers=0)
    assert found["epochs"] > 0 and found["seconds"] >= 1
    assert 0 <= found["linear"] <= 100


def test_tonight_keeps_its_rows_and_measures_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(row: str, chosen: Namespace, found: dict) -> dict:
        asked.append((row, len(found)))
        return {"epochs": 2.5, "seconds": 7, "linear": 40.0 + len(asked), "knn": 30.0}

    monkeypatch.setattr(tonight, "measured", measured)
    out = tmp_path / "tonight.json"
    chosen = Namespace(data="cifar10", minutes=1.0, size=32, seed=0, rows=["lightly"], out=str(out))
    tonight.main(chosen)
    chosen.rows = list(tonight.ROWS)
    tonight.main(chosen)
    assert asked == [("lightly", 0), ("ours", 1), ("lightly-tuned", 2), ("equal", 3)]
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows[tonight.ROWS["lightly"]]["values"] == [41.0] and rows[tonight.ROWS["lightly"]]["knn"] == 30.0
    assert rows[tonight.ROWS["equal"]]["values"] == [44.0] and len(rows) == 4
    chosen.minutes = 2.0
    with pytest.raises(SystemExit, match="is of other settings"):
        tonight.main(chosen)


def test_tonight_measures_equal_epochs_after_those_of_lightly() -> None:
    with pytest.raises(SystemExit, match="measure that first"):
        tonight.measured("equal", Namespace(), {})


def test_train_step_measures_in_a_process_of_its_own() -> None:
    common = {"encoder": "resnet18", "stem": "small", "size": 16, "batch": 4, "hidden": 16, "steps": 1, "workers": 0}
    found = train_step.measure({"plain": {"name": "plain", "precision": PRECISION}}, common, rounds=1, num_images=16)
    check(found, {"plain"})
    assert found["rows"][0]["matrix_fraction"] > 0


def test_peer_rows_are_trainings() -> None:
    assert set(train_step.rows("channels_last")) == {"plain PyTorch, bf16, channels_last"}
    for row in (peers.peer_rows() | train_step.rows()).values():
        assert set(row) <= {field.name for field in fields(Training)}


def test_train_step_flops_are_those_of_eight_forwards() -> None:
    # ResNet-18 with the small stem: 0.5559 GMAC a 32 px image; forward on 2 views, twice that backward, target's 2
    assert train_step.flops_per_image("resnet18", "small", 32, 4096) == pytest.approx(8 * 2 * 0.5559e9, rel=0.02)


@pytest.mark.full
def test_other_benchmarks_run() -> None:
    check(knn.measure(200, 20, 8, 5, 1), {"ours", "scikit-learn"})
    check(loader.measure("", 16, 2, 2, 0, 1), {"ours", "torchvision, PIL", "torchvision, tensors"})
    check(optimizer.measure("resnet18", 32, 1, repeats=1, step_seconds=1.0), {"loop over tensors"})
    check(closed_form.measure(1, repeats=1, batch_size=4), {"training step", "directpred", "stiefel"})
    check(startup.measure(1, demo=False), {"byol --help", "import byol"})
    check(folder_index.measure(20, 2, 1), {"first", "again"})
    check(linear_fast.measure(100, 50), {"ours", "scikit-learn"})
    assert memory.needed_megabytes("resnet18", 16, 8, 16) > 100


def test_limits_of_the_verdict_are_fitted_on_half_of_the_runs_of_studies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight variants, one seed: four gained, four did not; one of either kind looks like the other."""
    healthy = {"std_ratio": 0.9, "effective_rank": 20.0, "positive_cosine": 0.9, "negative_cosine": 0.1}
    collapsed = {"std_ratio": 0.1, "effective_rank": 1.5, "positive_cosine": 1.0, "negative_cosine": 0.99}
    doubtful = {**healthy, "negative_cosine": 0.85}

    def finished(study: str, number: int, seen: dict, *, gained: bool) -> None:
        run = tmp_path / study / f"variant-{number}-seed-0"
        run.mkdir(parents=True)
        (run / "outcome.json").write_text(json.dumps({"variant": f"variant {number}", "seed": 0, "collapse": seen}))
        (run / "linear_gain.json").write_text(json.dumps({"gain": [3.0, 2.0, 4.0] if gained else [0.5, -0.5, 1.5]}))
        steps = {1: collapsed, 5: collapsed, 10: {**doubtful, "std_ratio": 0.8}, 90: healthy, 100: seen}
        lines = [{"step": step, **look} for step, look in steps.items()]  # the second repeats the first
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    for number in range(8):
        gained = number < 4
        seen = healthy if gained != (number in (3, 7)) else collapsed
        finished("study", number, {**seen, "effective_rank": seen["effective_rank"] + number}, gained=gained)
    finished("later", 0, doubtful, gained=True)
    finished("later", 1, {**doubtful, "effective_rank": 21.0}, gained=False)
    finished("later", 2, doubtful, gained=True)  # the same training as variant 0: counted once
    failed = tmp_path / "study" / "diverged-seed-0"
    failed.mkdir()
    (failed / "outcome.json").write_text(json.dumps({"variant": "diverged", "seed": 0, "failed": "loss NaN"}))

    collapse_studies.main(str(tmp_path / "found.json"), [str(tmp_path / "study")], [str(tmp_path / "later")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["limits"] == {"cosine_gap": 0.405, "effective_rank": 13.75, "std_ratio": 0.5}  # between 0, 2 and 4, 6
    counts = {"num_runs": 4, "num_collapsed": 2, "called_partially_collapsed": []}
    assert found["verdict"]["fitting"] == {**counts, "missed": [], "false_alarms": []}
    errors = {"missed": ["study: variant 7, seed 0"], "false_alarms": ["study: variant 3, seed 0"]}
    assert found["verdict"]["held_out"] == {**counts, **errors}
    assert found["verdict"]["unseen"]["missed"] == ["later: variant 1, seed 0"]  # partially is not enough
    assert found["verdict"]["unseen"]["num_runs"] == 2
    assert found["verdict"]["unseen"]["called_partially_collapsed"] == ["later: variant 0, seed 0"]
    assert found["verdict"]["other_runs"]["num_runs"] == 44
    assert found["looks_at_runs_that_gained"] == {
        "first_tenth": {"collapsed": 5},
        "later": {"partially collapsed": 5 + 1, "healthy": 5 + 2, "collapsed": 1},  # variant 0's last is that at 90
    }
    assert "fitting: 4 runs, 2 collapsed, 0 missed, 0 false alarms" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file",
    [file for folder in ("benchmarks", "tools", "examples") for file in sorted((ROOT / folder).glob("*.py"))],
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_every_script_finds_what_it_imports(file: Path) -> None:
    """Scripts that no other test runs, too. Their names are looked up, nothing is run."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("byol", "benchmarks", "tools"):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                is_there = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
                assert is_there, f"{node.module} has no {name.name}"
