"""Paths that users give: home folders, names that mean two things, outputs beside inputs."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import byol
from byol.assembly.trained_run import TrainedRun
from byol.cli.main import main
from byol.data.labelled import labelled_splits
from byol.data.open import open_source, unambiguous
from byol.errors import ByolError, DataError, RunError
from byol.runtime import paths
from byol.runtime.paths import cache_folder, require_outside, user_path
from tests.conftest import SMALL


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("words", [["--data=~/photos", "--out=~/v.npz"], ["--data", "~/photos", "--out", "~/v.npz"]])
def test_home_is_expanded_in_options(home: Path, photos: Path, words: list[str]) -> None:
    photos.rename(home / "photos")
    with pytest.raises(SystemExit) as ended:
        main(["embed", "pixels", *words])
    assert ended.value.code == 0
    assert (home / "v.npz").exists()


def test_home_is_expanded_from_python(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    photos.rename(home / "photos")
    run = byol.pretrain("~/photos", out="~/runs/a", epochs=1, overrides=SMALL, say=lambda line: None)
    assert run.path == home / "runs" / "a" and not (home / "~").exists()
    assert byol.load("~/runs/a").num_features == 64
    byol.embed("~/runs/a", "~/photos", "~/v.npz")
    assert (home / "v.npz").exists()
    record = TrainedRun.open(run.path)
    assert record.data.data == str(home / "photos") and record.record["data"]["data"] == "~/photos"


def test_run_finds_its_images_from_any_folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    byol.pretrain("photos", out="run", epochs=1, overrides=SMALL, say=lambda line: None)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert TrainedRun.open(tmp_path / "run").data.data == str(photos)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved").mkdir()
    photos.rename(tmp_path / "moved" / "photos")
    monkeypatch.chdir(tmp_path / "moved")
    assert TrainedRun.open(tmp_path / "run").data.data == "photos"


@pytest.mark.parametrize("name", ["sample", "cifar10"])
def test_name_of_a_set_and_of_a_folder_is_asked_for_by_its_form(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / name)
    for look in (open_source, labelled_splits, unambiguous):
        with pytest.raises(DataError, match=rf"Write \./{name} for the folder or file, set:{name} for the data set"):
            look(name)
    for form in (f"./{name}", f"{name}/", str(tmp_path / name)):
        assert open_source(form).description.startswith("folder")
        assert unambiguous(form) == str(tmp_path / name)
    assert unambiguous(f"set:{name}") == f"set:{name}"
    if name == "sample":
        assert "Fashion-MNIST" in open_source("set:sample").description
    with pytest.raises(DataError, match="no data set 'x'"):
        open_source("set:x")


def test_name_of_a_set_and_of_a_folder_shows_both_commands(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename("sample")
    for data in (["--data", "sample"], ["--data=sample"]):
        with pytest.raises(SystemExit, match="1"):
            main(["pretrain", "--recipe", "sample", *data])
        folder, data_set = (shlex.join(data).replace("sample", name) for name in ("./sample", "set:sample"))
        lines = capsys.readouterr().err.splitlines()[1:]
        assert lines == [f"  byol pretrain --recipe sample {choice}" for choice in (folder, data_set)]


def test_outputs_do_not_land_among_the_images(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos)
    before = sorted(photos.rglob("*"))
    for words in (
        ["preview", "--data", "."],
        ["embed", "pixels", "--data", ".", "--out", "v.npz"],
        ["evaluate", "pixels", "--data", ".", "--protocol", "knn"],
        ["check-data", "--data", ".", "--out", "cat/report.json"],
        ["pretrain", "--data", str(photos), "--out", "run"],
        ["pretrain", "--data", "."],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 1
        assert "is in the folder of the images" in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before
    require_outside(photos.parent / "photos-2" / "v.npz", str(photos))


def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.setattr(Path, "expanduser", lambda self: fail() if str(self).startswith("~") else self)
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    paths._temporary_home.cache_clear()


def test_without_a_home_folder_all_but_home_works(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody(monkeypatch, tmp_path)
    folder = cache_folder("kernels")
    assert folder.parent.stat().st_mode & 0o077 == 0 and folder.is_relative_to(tmp_path)
    assert len(open_source(str(photos))) == 40
    with pytest.raises(RunError, match="Give the whole path"):
        user_path("~/x")
    with pytest.raises(ByolError, match="cifar10 was not found"):
        open_source("cifar10")
    paths._temporary_home.cache_clear()
    folder.parent.chmod(0o777)  # as another user might have left it
    assert cache_folder("kernels").parent != folder.parent
    paths._temporary_home.cache_clear()


def test_no_module_asks_for_the_home_folder_when_it_is_imported() -> None:
    names = ["data.open", "runtime.kernels", "data.remote", "data.parquet", "data.image_folder", "commands.pretrain"]
    code = "from pathlib import Path\ndef no(*a): raise RuntimeError('no home')\nPath.home = Path.expanduser = no\n"
    code += "".join(f"import byol.{name}\n" for name in names)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
