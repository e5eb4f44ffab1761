"""Runs of a study: how each is scored, and the time that is left."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol.assembly.encoder import untrained_encoder
from byol.commands.evaluate import evaluate
from byol.config import replaced
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.encoder.encoder_file import save_encoder
from byol.errors import EncoderError
from byol.evaluate.features import Features
from byol.evaluate.probes import probe_correct
from byol.studies import find_study, runs
from byol.studies.runs import Task, tasks_of
from tests.unit.studies.small_study import QUICK


def test_accuracies_are_the_demos_and_by_the_other_probe_the_papers_protocol(photos: Path, tmp_path: Path) -> None:
    (task, *_) = tasks_of(find_study("heads"), "tiny", 1, tmp_path, data=str(photos))
    encoder = untrained_encoder(replace(task.asked, config=replaced(task.config, QUICK)), open_source(str(photos)))
    train, test = labelled_splits(str(photos))
    right = probe_correct(encoder, train, test, 3, torch.device("cpu"))
    found = runs.accuracies(encoder, task)
    assert found == {probe: pytest.approx(100 * float(right[probe].mean())) for probe in ("knn", "linear")}
    (tmp_path / "encoder").mkdir()
    save_encoder(tmp_path / "encoder", encoder.module, encoder.description)
    (linear,) = evaluate(tmp_path / "encoder", str(photos), ["linear"], budget="paper")
    assert linear.record["settings"]["epochs"] == 80
    scored = runs.accuracies(encoder, replace(task, probe="sgd"))
    assert scored == {"knn": found["knn"], "linear": pytest.approx(linear.score.value)}
    assert {t.probe for t in tasks_of(find_study("batch-size"), "tiny", 1, tmp_path)} == {"l-bfgs"}
    assert {t.probe for t in tasks_of(find_study("batch-size"), "paper", 1, tmp_path)} == {"sgd"}


def test_the_linear_probe_of_a_study_sees_what_neighbours_do_not(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two classes along one direction, told apart by length alone, which cosines leave out."""
    labels = torch.arange(40) % 2
    vectors = torch.stack([1.0 + labels, torch.zeros(40)], dim=1)
    features = Features(vectors, labels, torch.arange(40))
    monkeypatch.setattr(runs, "make_job", lambda *a: SimpleNamespace(features=lambda part: features))
    (task, *_) = tasks_of(find_study("heads"), "tiny", 1, tmp_path, data=str(photos))
    encoder: Any = SimpleNamespace(description=None)
    assert runs.accuracies(encoder, task) == {"knn": 50.0, "linear": 100.0}


def test_study_counts_an_encoder_that_explodes_as_diverged(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(encoder: object, task: Task) -> dict[str, float]:
        raise EncoderError("The encoder gives values that are not finite")

    whole = find_study("loss-normalization")
    part = replace(whole, scales={"tiny": replace(whole.scales["tiny"], variants=("none",))})
    (task, *_) = [t for t in tasks_of(part, "tiny", 1, tmp_path, data=str(photos), settings=QUICK) if t.variant]
    monkeypatch.setattr(runs, "accuracies", explode)
    assert runs.run_one(task) is None
    assert task.outcome is not None
    assert task.outcome["failed"] == "The encoder gives values that are not finite"


def test_time_left_of_runs_side_by_side_is_by_the_passes_made_here(tmp_path: Path) -> None:
    tasks = [
        replace(task, config=replace(task.config, epochs=epochs))
        for task, epochs in zip(
            tasks_of(find_study("batch-size"), "tiny", 1, tmp_path)[1:4], (2.0, 2.0, 4.0), strict=True
        )
    ]
    clock = iter((100.0, 110.0, 130.0))
    progress = runs.StudyProgress(tasks, now=lambda: next(clock))
    assert progress.fraction_and_note() == (0.0, "0 of 3 trainings finished")
    progress.shares = {tasks[0].path: SimpleNamespace(value=0.5), tasks[2].path: SimpleNamespace(value=0.0)}
    assert progress.fraction_and_note() == (
        1 / 8,
        "0 of 3 trainings finished",
    )  # it goes on: that pass was made before
    progress.shares[tasks[0].path].value = 1.0
    progress.shares[tasks[2].path].value = 0.25  # heard of late: counted as done before
    progress.finished = 1
    assert progress.fraction_and_note() == (
        3 / 8,
        "1 of 3 trainings finished, about 50 s left",
    )  # a pass in 10 s, 5 to go
    progress.shares[tasks[2].path].value = 0.5
    assert progress.fraction_and_note() == (
        4 / 8,
        "1 of 3 trainings finished, about 1 min 0 s left",
    )  # two in 30 s, 4 to go
