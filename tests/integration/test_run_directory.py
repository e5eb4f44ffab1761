"""The directory of a run: one process at a time, nothing is overwritten."""

import errno
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import byol
from byol.commands.resume import resume
from byol.data.arrays import ArrayImages
from byol.errors import EncoderError, RunError
from byol.runtime.run_directory import RunDirectory
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES, run


def test_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        RunError, match=r"cannot be created .Not a directory.*choose another --out|Choose another --out"
    ):
        run(tmp_path / "file" / "run")


def test_existing_directory_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="exists already"):
        run(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_directory_that_another_training_takes_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol.commands import pretrain as command

    def profile_meanwhile(*arguments):
        (tmp_path / "runs" / "array-1").mkdir(parents=True)
        return profile(*arguments)

    profile = command.profile
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "profile", profile_meanwhile)
    ended = byol.pretrain(PICTURES, overrides={**SMALL, "epochs": 0.5}, say=lambda line: None)
    assert ended.path.name == "array-2" and not any((tmp_path / "runs" / "array-1").iterdir())


def test_failed_start_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="Did you mean 'resnet18'"):
        run(tmp_path / "run", **{"encoder.name": "resnet18x"})
    assert not (tmp_path / "run").exists()


def test_run_on_a_file_system_without_locks_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(stream: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(tmp_path / "run", epochs=1).finished


def test_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    with (
        RunDirectory(tmp_path / "run").lock(),
        pytest.raises(RunError, match=f"Another process .process {os.getpid()} .*is writing to"),
    ):
        resume(tmp_path / "run", source=ArrayImages(PICTURES))
    assert resume(tmp_path / "run", source=ArrayImages(PICTURES), say=lambda line: None).finished


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked")
def test_run_directory_is_free_when_its_process_dies_and_a_worker_lives_on(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    reading, writing = os.pipe()
    if not (training := os.fork()):
        with RunDirectory(tmp_path / "run").lock():
            if not (worker := os.fork()):
                time.sleep(60)
            os.write(writing, str(worker).encode())
            os._exit(0)
    os.waitpid(training, 0)
    worker = int(os.read(reading, 20))
    try:
        with RunDirectory(tmp_path / "run").lock():
            os.kill(worker, 0)  # it lives
    finally:
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format_version": 99}'])
def test_open_foreign_directory_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json|format version|does not hold"):
        resume(tmp_path)


def test_load_damaged_encoder_is_one_sentence(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "copy" / "encoder.safetensors").write_bytes(b"xx")
    with pytest.raises(RunError, match="cannot be read"):
        byol.load(tmp_path / "copy")
    with pytest.raises(RunError, match=r"holds no encoder\.json: it holds runs; give one of them, copy for"):
        byol.load(tmp_path)
