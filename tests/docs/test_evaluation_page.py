"""The commands of docs/evaluation.md run, on a tiny run and a few pictures."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import byol
from byol.cli import main
from tests.conftest import SMALL

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
BUDGET = {"evaluate": ["--budget", "smoke"], "transfer": ["--budget", "smoke"], "pretrain": ["--epochs", "5"]}


def test_evaluation_page_commands_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    byol.pretrain(photos, epochs=1, out="runs/photos", overrides=SMALL, say=lambda _: None)
    shutil.copytree(photos, "labelled")
    commands = re.findall(r"^ +byol (.+)$|`byol (pretrain [^`]+)`", PAGE.read_text(), re.MULTILINE)
    ran = [indented or inline for indented, inline in commands]
    assert [command.split()[0] for command in ran] == ["evaluate", "transfer", "pretrain"]
    for command in ran:
        words = command.replace("dtd pets flowers own=", "own=").split()  # their images would have to be downloaded
        if words[0] == "pretrain":
            words += [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
        with pytest.raises(SystemExit) as ended:
            main([*words, *BUDGET[words[0]]])
        assert ended.value.code == 0, command
    assert sorted(file.name for file in Path("runs/photos/evaluation").iterdir()) == ["knn.json", "linear-fast.json"]
    assert Path("runs/photos/transfer/linear-fast-smoke/own.json").exists()
