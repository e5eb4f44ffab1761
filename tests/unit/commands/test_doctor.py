"""What the doctor measures and says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from byol.assembly.networks import build_method
from byol.cli.main import main
from byol.commands.doctor import Estimate, estimate_lines, machine_lines
from byol.config import replaced
from byol.data.image_folder import ImageFolder
from byol.errors import ConfigError, DataError
from byol.runtime.hardware import memory_bytes, num_cores
from tests.conftest import SMALL
from tests.unit.commands.small_estimate import CONFIG, PICTURES, estimated


def test_machine_lines_tell_device_memory_and_versions() -> None:
    told = "\n".join(machine_lines("cpu"))
    assert f"{num_cores()} cores" in told
    assert f"torch {torch.__version__}" in told
    total, free = memory_bytes(torch.device("cpu"))
    assert 0 < free <= total
    assert f"of {total / 2**30:.1f}" in told


def test_estimate_of_equal_images_keeps_them_in_memory() -> None:
    found = estimated(PICTURES, CONFIG)
    assert found.is_resident
    assert found.num_steps == 8
    assert found.trial_batch in (8, 16)
    assert found.trained_per_second > 0
    heads = build_method(found.config, 3)
    trained = sum(p.numel() for _, module in heads.trained_modules() for p in module.parameters())
    assert 4 * 3 * trained < found.state_bytes < 4 * 5 * trained


def test_estimate_of_unequal_images_decodes_while_training(photos: Path) -> None:
    found = estimated(ImageFolder(photos, None), CONFIG)
    assert not found.is_resident
    assert found.images_per_second < found.trained_per_second
    slow = replace(found, images_per_second=4.0, trained_per_second=100.0)
    assert slow.seconds == 5 * 16 / 4.0
    assert "limited by decoding" in "\n".join(estimate_lines(slow))
    assert "limited by training" in "\n".join(estimate_lines(replace(slow, images_per_second=90.0)))


def test_estimate_counts_broken_images(photos: Path) -> None:
    for number in range(5):
        (photos / "cat" / f"broken{number}.jpg").write_bytes(b"no picture")
    found: Estimate = estimated(ImageFolder(photos, None), CONFIG)
    assert len(found.skipped) == 5
    assert "5 broken" in "\n".join(estimate_lines(found))


def test_estimate_refuses_what_training_would(photos: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size is 512"):
        estimated(PICTURES, replaced(CONFIG, {"batch_size": 512}))
    for file in photos.rglob("*.jpg"):
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="can be decoded"):
        estimated(ImageFolder(photos, None), CONFIG)


def test_command_doctor_writes_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    for arguments in (["doctor"], ["doctor", "--data", str(photos), *settings]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert not ended.value.code
    told = capsys.readouterr().out
    assert told.count("device ") == 2
    assert "estimate " in told
    assert "warning    view1: a blur" in told
    assert "SimCLR, ResNet-18 of width 8, views of " in told  # the plan of a training
    assert "passes over the images fit into the time" in told
    assert sorted(tmp_path.rglob("*")) == before
