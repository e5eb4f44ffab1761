"""The commands of docs/export.md run, in order, on a tiny run and a small checkpoint."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import byol
from byol.cli import main
from tests.conftest import SMALL
from tests.parity.haiku import GOLDEN

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def test_export_page_commands_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    settings = {**SMALL, "encoder.name": "resnet10", "encoder.width": 1.0, "encoder.stem": "imagenet"}
    byol.pretrain("photos", epochs=1, out="runs/photos", overrides=settings, say=lambda _: None)
    shutil.copy(GOLDEN / "synthetic_checkpoint_plain.pkl", "pretrain_res50x1.pkl")
    commands = re.findall(r"^    byol (.+)$", PAGE.read_text(), re.MULTILINE)
    ran = [command for command in commands if not command.startswith("pretrain")]
    assert len(ran) == 8
    for command in ran:
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        assert ended.value.code == 0, command
    assert "onnxruntime.InferenceSession" in capsys.readouterr().out
    kinds = {path.name for path in Path("exports").iterdir()}
    assert kinds == {"hub", "timm", "torchvision", "onnx", "safetensors", "deepmind"}
    assert (Path("exports") / "hub" / "config.json").exists()
