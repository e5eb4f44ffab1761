"""`tools/search.py`: what is in the ledger is not done again, and the ledger without trials is a table."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools.search import main, parse

from tests.conftest import SMALL

ROW = {
    "name": "wide",
    "settings": {"encoder.width": 1},
    "recipe": "small",
    "seed": 0,
    "minutes": 1.0,
    "images": 0,
    "images_per_second": 1234.5,
    "passes": 2.5,
    "validation": {"online": {"knn": 40.0, "linear": 50.0, "few_labels": 30.0}, "target": {"linear": 49.0}},
}


def search(*arguments: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*arguments])
    return printed.getvalue()


def test_a_trial_is_a_name_and_settings() -> None:
    settings = {"views.size": 64, "views.view1.crop_area": [0.1, 1], "optimizer.name": "lars"}
    assert parse("two: views.size=64 views.view1.crop_area=[0.1,1] optimizer.name=lars") == ("two", settings)
    assert parse("plain") == ("plain", {})


def test_trials_of_the_ledger_are_not_repeated(tmp_path: Path) -> None:
    ledger, trials = tmp_path / "ledger.jsonl", tmp_path / "trials.txt"
    ledger.write_text(json.dumps(ROW) + "\n")
    trials.write_text("wide: encoder.width=1\n")
    assert search(str(ledger), "--data", "no/such/folder", "--minutes", "1", f"@{trials}") == ""
    by_epochs = search(str(ledger), "--data", "no/such/folder", "--epochs", "1", f"@{trials}")
    assert by_epochs.startswith("wide failed") and "no/such/folder" in by_epochs
    assert len(ledger.read_text().splitlines()) == 1


@pytest.mark.full
def test_what_needs_no_training_is_scored_on_the_split(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    row = json.loads(search(str(ledger), "pixels", "--images", "200", "--jobs", "1"))
    assert row["num_images"] == 200 and row["steps"] == 0
    assert 30 < row["validation"]["online"]["linear"] < 90  # ten kinds of clothing
    assert json.loads(ledger.read_text()) == row


@pytest.mark.full
def test_where_test_images_are_named_they_are_what_is_scored(tmp_path: Path) -> None:
    for part, classes in (("train", ("dark", "light")), ("test", ("light", "dark"))):  # there by the other's name
        for brightness, name in enumerate(classes):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(30):
                pixels = np.random.default_rng(i).integers(0, 90, (8, 8, 3)) + 150 * brightness
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / name / f"{i}.png")
    common = (str(tmp_path / "ledger.jsonl"), "pixels", "--data", str(tmp_path / "train"), "--jobs", "1")
    split, test = (json.loads(search(*common, *more)) for more in ((), ("--test-data", str(tmp_path / "test"))))
    assert (split["test"], split["validation"]["online"]["linear"]) == (False, 100)
    assert (test["test"], test["validation"]["online"]["linear"]) == (True, 0)


@pytest.mark.full
def test_a_trial_scores_the_target_where_there_is_one_and_the_start_where_asked(tmp_path: Path) -> None:
    tiny = {**SMALL, "encoder.name": "resnet10", "encoder.width": 0.0625, "views.size": 16}
    settings = " ".join(f"{name}={json.dumps(value)}" for name, value in tiny.items())
    trials = [f"{name}: {settings} method.name={json.dumps(name)}" for name in ("byol", "simclr")]
    out = str(tmp_path / "ledger.jsonl")
    common = ("--images", "100", "--epochs", "1", "--jobs", "1")
    kept = tmp_path / "runs"
    printed = search(out, *trials, *common, "--untrained", "--keep", str(kept)).splitlines()
    byol, simclr = map(json.loads, printed)
    assert byol["validation"].keys() == {"online", "target", "untrained"}
    assert simclr["validation"].keys() == {"online", "untrained"}
    assert byol["steps"] > 0 and byol["minutes"] == 0 and byol["plan"] == []  # which is for trials by time
    scores = [tuple(score.values()) for score in byol["validation"].values()]
    assert len(set(scores)) == 3
    again = json.loads(search(out, str(kept / "simclr-0"), *common))
    assert again["validation"]["online"] == simclr["validation"]["online"]


def test_the_ledger_as_a_table(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    better = {**ROW, "name": "better", "settings": {}}
    better["validation"] = {"online": {"knn": 45.0, "linear": 60.0, "few_labels": 35.0}}
    ledger.write_text(json.dumps(ROW) + "\n" + json.dumps(better) + "\n")
    rows = search(str(ledger)).splitlines()[2:]
    assert rows[0] == "| better |  | 0 | 1,234 | 2.5 | 45.0 | 60.0 | 35.0 |  |"
    assert rows[1] == "| wide | `encoder.width=1` | 0 | 1,234 | 2.5 | 40.0 | 50.0 | 30.0 | 49.0 |"


TRIALS = """
import os, time
from pathlib import Path
from tools.pool import run_trials

def trial(folder):
    Path(folder, "new").write_text(str(os.getpid()))
    Path(folder, "new").rename(Path(folder, "pid"))
    time.sleep(600)

if __name__ == "__main__":
    list(run_trials(trial, [("one", ("FOLDER",))], Path("FOLDER", "ledger.jsonl"), 1))
"""


def test_trials_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script, pid = tmp_path / "trials.py", tmp_path / "pid"
    script.write_text(TRIALS.replace("FOLDER", str(tmp_path)))
    with subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as parent:
        _wait(pid.exists)
        parent.send_signal(signal.SIGKILL)
    worker = int(pid.read_text())
    _wait(lambda: not _runs(worker))


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
