"""`byol study`: its commands train the same runs."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from byol.cli import main as cli
from byol.cli.pretrain import Pretrain
from byol.data.spec import DataSpec
from byol.errors import ConfigError
from byol.studies import STUDIES, find_study
from byol.studies.run_study import training_command
from byol.studies.runs import tasks_of
from tests.unit.studies.small_study import QUICK


@pytest.mark.parametrize(
    ("name", "scale"), [("asymmetry", "paper"), ("normalization", "small"), ("batch-size", "tiny")]
)
def test_study_prints_commands_that_train_its_runs(name: str, scale, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Pretrain] = []
    monkeypatch.setitem(cli.COMMANDS, "pretrain", (Pretrain, lambda options: begun.append(options) or 0))
    tasks = [
        task
        for task in tasks_of(find_study(name), scale, 1, Path("out"), data=DataSpec("", "over there"))
        if task.variant
    ]
    for task in tasks:
        program, *words = shlex.split(training_command(task))
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert (program, ended.value.code) == ("byol", 0)
    assert [options.config for options in begun] == [task.config for task in tasks]
    assert [(o.data, o.place.data_root, o.recipe, Path(o.out)) for o in begun] == [
        (task.data.data, "over there", task.recipe, task.path) for task in tasks
    ]


def test_commands_for_ranks_share_the_micro_batches() -> None:
    tasks = {
        task.path.name: task for task in tasks_of(find_study("batch-size"), "paper", 1, Path("out")) if task.variant
    }
    words = {name: shlex.split(training_command(task, 32)) for name, task in tasks.items()}
    given = {w[w.index("--micro-batch-size") + 1] for w in words.values() if "--micro-batch-size" in w}
    assert given == {"128", "64", "32", "16", "8", "4", "2"}
    with pytest.raises(ConfigError, match=r"128 ranks cannot share the micro-batches of 64 images of .*Give --ranks"):
        [training_command(task, 128) for task in tasks.values()]


def test_study_takes_the_results_of_trainings_started_by_command(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_study("loss-normalization")
    tiny = replace(whole.scales["tiny"], variants=("batch",), settings={**whole.scales["tiny"].settings, **QUICK})
    monkeypatch.setitem(STUDIES, whole.name, replace(whole, scales={"tiny": tiny}))
    command = [
        "study",
        whole.name,
        "--seeds",
        "1",
        "--images",
        "24",
        "--data",
        str(photos),
        "--out",
        str(tmp_path / "study"),
    ]
    with pytest.raises(SystemExit):
        cli.main([*command, "--commands"])
    (line,) = capsys.readouterr().out.splitlines()
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(line)[1:])
    assert ended.value.code == 0
    trained = (tmp_path / "study" / "batch-seed-0" / "metrics.jsonl").read_text()
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert "batch does not collapse" in capsys.readouterr().out
    assert json.loads((tmp_path / "study" / "batch-seed-0" / "outcome.json").read_text())["variant"] == "batch"
    assert (tmp_path / "study" / "batch-seed-0" / "metrics.jsonl").read_text() == trained
