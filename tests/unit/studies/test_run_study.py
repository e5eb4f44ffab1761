"""A study is carried out: runs are kept and continue, side by side or in turn."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from byol.engine.progress import Log
from byol.errors import ConfigError
from byol.studies import STUDIES, find_study, run_study, runs
from byol.studies.run_study import begin
from byol.studies.study_report import StudyResult, lines, table
from tests.unit.studies.small_study import QUICK, study


def test_study_runs_is_kept_and_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the second run; the same command goes on with it; a third finds all done; a seed is added."""
    out = tmp_path / "study"
    arguments = {"data": str(photos), "out": out, "settings": QUICK, "say": lambda line: None}
    write, seen = Log.write, []

    def stop_in_the_second(self, state) -> None:
        write(self, state)
        seen.append(state.step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Log, "write", stop_in_the_second)
    assert study("loss-normalization", seeds=1, **arguments) == 15
    assert (out / "protocol.txt").exists()
    assert not (out / "study.json").exists()
    result = study("loss-normalization", seeds=1, **arguments)
    assert isinstance(result, StudyResult)
    assert len(seen) == 4 * 2  # every step of the four variants once
    resume_notes = json.loads((out / "layer-seed-0" / "run.json").read_text())["commands"]
    assert len(resume_notes) == 2
    header, rows = table(result)
    assert [row[0] for row in rows] == ["l2", "layer", "batch", "none", "encoder, untrained"]
    assert [row[-1] for row in rows] == ["72.5", "72.5", "65.3", "67.4", ""]
    assert header[-1] == "paper: ImageNet linear top-1, %, after 300 epochs of ResNet-50"
    assert all("underpowered" in line for line in lines(result)[1:4])  # contrasts of one seed
    content = json.loads((out / "study.json").read_text())
    assert content["outcomes"]["l2"][0]["knn"] == result.outcomes["l2"][0]["knn"]
    assert 0 <= content["outcomes"]["l2"][0]["linear"] <= 100
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    before = (out / "protocol.txt").read_text()  # by a version that measured something else of the same runs
    assert before.count("  accuracy, of") == before.count("expected beforehand, of") == 1
    before = re.sub(r"(?m)^  accuracy.*$", "  accuracy: kNN", before)
    (out / "protocol.txt").write_text(re.sub(r"expected beforehand.*", "expected beforehand:", before))
    more = study("loss-normalization", seeds=2, **arguments)
    assert isinstance(more, StudyResult)
    assert len(seen) == 2 * 4 * 2
    assert all(len(values) == 2 for values in more.outcomes.values())
    other = {**arguments, "settings": {**QUICK, "seed": 5, "encoder.width": 0.25}}
    with pytest.raises(ConfigError, match=r"another protocol: .*encoder.width 0.0625.* there, .*encoder.width 0.25"):
        study("loss-normalization", seeds=2, **other)
    with pytest.raises(ConfigError, match=r"there, .*sample train"):
        study("loss-normalization", seeds=2, **{**arguments, "data": "sample"})


def test_study_stops_between_two_trainings(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the untrained encoder is scored: that is finished, and nothing is begun."""
    score, said = runs.accuracies, []

    def score_and_stop(encoder, task) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return score(encoder, task)

    monkeypatch.setattr(runs, "accuracies", score_and_stop)
    out = tmp_path / "study"
    assert study("loss-normalization", seeds=1, data=str(photos), out=out, settings=QUICK, say=said.append) == 15
    assert [path.parent.name for path in out.glob("*/outcome.json")] == ["encoder-untrained-seed-0"]
    assert [line for line in said if line.startswith("run ")] == ["run 1 of 5: encoder-untrained-seed-0"]


@pytest.mark.full
def test_study_with_two_jobs_gives_the_same_numbers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_study("loss-normalization")
    part = replace(whole, scales={"tiny": replace(whole.scales["tiny"], variants=("batch",))})
    monkeypatch.setitem(STUDIES, whole.name, part)
    said: list[str] = []
    shown: list[tuple[float, str]] = []
    arguments = {"data": str(photos), "settings": QUICK, "say": said.append}
    arguments["overall"] = lambda share, note: shown.append((share, note))
    found = [study(whole.name, seeds=2, jobs=jobs, out=tmp_path / str(jobs), **arguments) for jobs in (1, 2)]
    assert {"finished batch-seed-0", "finished batch-seed-1"} <= set(said)
    assert shown[0] == (0.0, "0 of 2 trainings finished")
    assert [share for share, _ in shown] == sorted(share for share, _ in shown)
    assert shown[-1][0] < 1
    one, two = (r.outcomes["batch"][0]["negative_cosine"] for r in found if isinstance(r, StudyResult))
    assert one == pytest.approx(two, rel=1e-4)


def test_study_with_jobs_tells_what_a_run_refuses_in_a_sentence(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(photos.rglob("*.jpg"))):
        file.rename(flat / f"{number}.jpg")
    with pytest.raises(ConfigError, match="failed for the reason above"):
        study("loss-normalization", seeds=1, jobs=2, data=str(flat), out=tmp_path / "out", settings=QUICK, say=str)
    told = capfd.readouterr().err
    assert "has no labels (it has" in told and "into a sub-folder of its own" in told
    assert "Traceback" not in told


def test_study_under_torchrun_is_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--commands"):
        study("heads", data=str(photos), out=tmp_path / "out", settings=QUICK)


def test_study_refuses_gray_images_unknown_names_and_another_protocol(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gray"):
        study("augmentations", data="sample", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="Did you mean 'normalization'"):
        study("normalisation", out=tmp_path / "b")
    out = tmp_path / "c"
    out.mkdir()
    (out / "protocol.txt").write_text("study heads\n")
    with pytest.raises(ConfigError, match="another protocol: 'study heads' there, 'study"):
        study("heads", data=str(photos), out=out, settings=QUICK)
    assert not list(out.glob("*-seed-0"))


def test_jobs_are_as_many_as_cores_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jobs(cores: int, device: str) -> int:
        monkeypatch.setattr(run_study, "num_cores", lambda: cores)
        monkeypatch.setattr(run_study, "choose_device", lambda name: torch.device(device))
        return begin("heads", images=1000, out=tmp_path / f"{cores}{device}").jobs

    assert [jobs(1, "cpu"), jobs(3, "cpu"), jobs(64, "cpu"), jobs(64, "cuda")] == [1, 3, 4, 1]
