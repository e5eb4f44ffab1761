"""Checkpoints of a run: which are kept, and damaged ones."""

import hashlib
import os
from pathlib import Path

import pytest

from byol.commands.resume import resume
from byol.data.arrays import ArrayImages
from byol.errors import CheckpointError
from byol.runtime import checkpoint
from tests.integration.small_runs import PICTURES, checkpoints, losses, run


def test_resume_after_the_clock_was_set_back_takes_the_newest_step(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1, checkpoint_interval_minutes=0)
    before, newest = checkpoints(tmp_path / "run")
    os.utime(before, (2e9, 2e9))
    os.utime(newest, (1, 1))
    assert checkpoint.load_newest(tmp_path / "run" / "checkpoints")[0] == newest


@pytest.mark.parametrize("damage", ["torn", "one bit", "empty"])
def test_resume_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    run(tmp_path / "run", epochs=1, checkpoint_interval_minutes=0)
    before, newest = checkpoints(tmp_path / "run")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"torn": content[:1000], "one bit": content, "empty": b""}[damage])
    trace, said = losses(tmp_path / "run"), []
    resume(tmp_path / "run", source=ArrayImages(PICTURES), say=said.append)
    assert any(f"{newest} is damaged" in line and f"Using {before.name}" in line for line in said)
    assert losses(tmp_path / "run") == trace
    assert len(checkpoints(tmp_path / "run")) == 2


def test_resume_without_a_readable_checkpoint_says_so(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    for path in checkpoints(tmp_path / "run"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))


def test_checkpoint_with_foreign_pickle_is_not_executed(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    run(tmp_path / "run", epochs=1)
    (path,) = checkpoints(tmp_path / "run")
    path.write_bytes(pickle.dumps(Evil()))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()[: checkpoint.CHECKSUM_LENGTH]
    path.rename(path.with_name(f"step_00000004.{checksum}.pt"))  # as one who knows would
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))
    assert not (tmp_path / "owned").exists()


def test_checkpoints_newest_and_milestones_are_kept(tmp_path: Path) -> None:
    run(
        tmp_path / "run", epochs=3, checkpoint_interval_minutes=0, milestone_epochs=1.0, keep_checkpoints=3
    )  # 4 steps an epoch
    assert [checkpoint.step_of(path) for path in checkpoints(tmp_path / "run")] == [4, 8, 10, 11, 12]
