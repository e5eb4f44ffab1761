"""Folders that cannot be read, and names that are no UTF-8: neither ends a command."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from byol.cli.prepare import CheckData, run_check_data
from byol.commands.embed import Embedding, embed, write_embedding
from byol.data.arrays import ArrayImages
from byol.data.check_data import check_data
from byol.data.image_folder import ImageFolder
from byol.errors import DataError
from tests.conftest import encoded, picture


def test_check_data_counts_folders_apart_from_images(photos: Path) -> None:
    (photos / "cat" / "00.jpg").write_bytes(b"broken")
    source = ImageFolder(photos, None)
    source.unreadable = {"away/": "Permission denied"}
    report = check_data(source)
    lines = report.lines()
    assert list(report.broken) == ["cat/00.jpg"]
    assert report.unreadable_folders == {"away/": "Permission denied"}
    assert lines[1].startswith("  readable: 39 (")
    assert lines[2] == "  broken: 1"
    assert lines[-2:] == ["  folders that cannot be read: 1", "    away/: Permission denied"]


def test_check_data_counts_images_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ArrayImages(np.zeros((4, 8, 8, 2), np.uint8))
    monkeypatch.setattr(source, "name", lambda index: "same.png")
    monkeypatch.setattr(source, "channels", lambda index: 2 if index > 1 else 3)
    assert check_data(source).lines()[1].startswith("  readable: 2 (")


def test_check_data_of_no_image_says_so() -> None:
    with pytest.raises(DataError, match="array holds 0 images"):
        check_data(ArrayImages(np.zeros((0, 8, 8, 3), np.uint8)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_check_data_prints_a_name_that_is_no_utf8(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "cat" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"broken")
    assert run_check_data(CheckData(str(photos))) == 0
    assert "    cat/caf?.jpg: no image of a known kind" in capsys.readouterr().out


def test_embedding_of_a_name_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    names = ["caf\udce9.jpg", "caf\u00e9.jpg"]
    write_embedding(tmp_path / "v.parquet", Embedding(names, names, np.ones((2, 4), np.float32), None, [], []))
    assert pq.read_table(tmp_path / "v.parquet")["name"].to_pylist() == ["caf\ufffd.jpg", "caf\u00e9.jpg"]


ODD_NAMES = (
    *(b"-rf", b"--data", b"a\nb", b"tab\t", b"<b>x", b"q\"uo'te", b"100%25 #?&", b"caf\xe9", "😀 été".encode()),
    *(b" lead", b"trail ", b"back\\slash", b"[red]x", b"{a}", b"$(id)", b"a*", b"x" * 251),
)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_embedding_and_check_name_files_of_odd_names(tmp_path: Path) -> None:
    files = [os.fsdecode(name + b".png") for name in ODD_NAMES]
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(files):
        (tmp_path / "photos" / name).write_bytes(encoded(picture(number)))
    embed("pixels", str(tmp_path / "photos"), tmp_path / "v.npz")
    assert set(np.load(tmp_path / "v.npz")["name"].tolist()) == set(files)
    for name in files:
        (tmp_path / "photos" / name).write_bytes(b"broken")
    (tmp_path / "photos" / "sound.png").write_bytes(encoded(picture(1)))
    assert set(check_data(ImageFolder(tmp_path / "photos")).broken) == set(files)
