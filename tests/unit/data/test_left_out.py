"""Which files are images, what becomes of the others, and how links and odd entries are followed."""

import io
import os
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data import file_index
from byol.data.check_data import check_data
from byol.data.decode import extensions
from byol.data.file_index import index_files
from byol.data.image_folder import ImageFolder
from byol.data.open import open_source
from byol.errors import BrokenImageError, DataError
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture
from tests.unit.test_containers import shard
from tests.unit.test_image_files import tree

PHOTO = encoded(picture(1))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("jfif", "JPEG"),
        ("jpe", "JPEG"),
        ("ppm", "PPM"),
        ("pgm", "PPM"),
        ("tga", "TGA"),
        ("apng", "PNG"),
        ("gif", "GIF"),
        ("avif", "AVIF"),
        ("GIF", "GIF"),
        ("jp2", "JPEG2000"),
    ],
)
def test_every_kind_that_pillow_decodes_is_read(tmp_path: Path, ending: str, kind: str) -> None:
    if f".{ending.lower()}" not in extensions():  # a Pillow that was built without the kind
        assert kind in ("AVIF", "JPEG2000")
        return
    pixels = picture(2)[..., 0] if ending == "pgm" else picture(2)
    (tmp_path / f"x.{ending}").write_bytes(encoded(pixels, kind))
    found = ImageFolder(tmp_path).read(0, 3)
    assert np.abs(found.astype(int) - pixels.reshape(40, 48, -1)).mean() < 12


def test_kind_of_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    for kind in ("GIF", "BMP", "TIFF", "PPM"):
        (tmp_path / f"{kind}.jpg").write_bytes(encoded(picture(2), kind))
    pages = {"page.jpg": "<!DOCTYPE html>", "pointer.jpg": "version https://git-lfs.github.com/spec/v1\nsize 12345\n"}
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    report = check_data(ImageFolder(tmp_path))
    assert report.channels == {3: 4} and report.broken == dict.fromkeys(pages, "no image of a known kind")


def test_what_pillow_only_recognises_is_no_image() -> None:
    assert not extensions() & {".eps", ".ps", ".h5", ".mpg", ".grib", ".wmf", ".pdf", ".txt"}


def test_everything_left_out_is_counted_and_said(tmp_path: Path) -> None:
    names = ["a.png", "b.txt", "c.TXT", "noending", ".hidden.png", ".git/x", "sub/d.json", "e.heic"]
    tree(tmp_path, *names)
    (tmp_path / "a.png").write_bytes(PHOTO)
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        said: list[str] = []
        source = open_source(tmp_path, listener=Listener(say=said.append))
    assert len(source) == 1
    counted = "1 .json file, 2 .txt files, 1 hidden file, 1 file without an ending and 2 pipe, socket or device"
    assert said == [
        f"{tmp_path} is read without its 1 .heic file. Install pillow-heif for HEIC (pip install 'byol[heic]'); convert others to JPEG.",
        f"{tmp_path}: left out, not images: {counted}.",
    ]
    assert any(counted in line for line in check_data(source).lines())


def test_many_kinds_are_counted_in_one_line(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{i}.x{i}" for i in range(12)), "b.txt", "c.txt")
    with pytest.raises(DataError, match=r"holds no image .*2 \.txt files.*and 5 of other kinds"):
        open_source(tmp_path)


def test_a_kept_index_knows_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "CACHED_FROM", 1)
    tree(tmp_path, "set/a.png", "set/b.txt", "set/.c")
    for _ in range(2):
        assert index_files(tmp_path / "set", tmp_path / "cache").left_out == {".txt": 1, "hidden": 1}


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    tar.addfile(member, io.BytesIO(content))


def test_tar_reads_hard_links_and_labels_in_other_case_and_counts_the_rest(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(2):
            add(tar, f"{i}.PNG", encoded(picture(i)))
            add(tar, f"{i}.CLS", str(i).encode())
        add(tar, "2.png", kind=tarfile.LNKTYPE, link="1.PNG")
        add(tar, "2.cls", b"1")
        add(tar, "3.png", kind=tarfile.SYMTYPE, link="1.PNG")
        add(tar, "1.mask.png", PHOTO)
        add(tar, "1.json", b"{}")
        add(tar, "._1.png", b"x")
    said: list[str] = []
    source = open_source(tmp_path / "a.tar", listener=Listener(say=said.append))
    assert len(source) == 3 and source.labels is not None and source.labels.tolist() == [0, 1, 1]
    assert np.array_equal(source.read(2, 3), picture(1))
    (line,) = said
    assert all(part in line for part in ("1 .json file", "1 hidden file", "1 link", "1 further image of a sample"))


def test_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    for a in range(8):
        tree(tmp_path, f"d{a}/x.png")
        for b in range(8):
            if a != b:
                (tmp_path / f"d{a}" / f"l{b}").symlink_to(f"../d{b}")
    (tmp_path / "all").symlink_to(".")
    assert list(index_files(tmp_path, None).paths) == [f"d{a}/x.png" for a in range(8)]


def test_album_of_links_is_read_where_its_folders_lie_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path, "away/1/a.png", "away/1/b/c.png", "set/z.png")
    for name in ("m", "n"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "away" / "1")
    assert list(index_files(tmp_path / "set", None).paths) == ["m/a.png", "m/b/c.png", "z.png"]


def test_a_real_folder_goes_before_a_link_to_it(tmp_path: Path) -> None:
    tree(tmp_path, "b/x.png", "a/y.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    assert list(index_files(tmp_path, None).paths) == ["a/y.png", "b/x.png"]


def test_very_deep_folders_end_in_a_sentence(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("x", dir_fd=here)
        here, above = os.open("x", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    found = index_files(tmp_path, None)
    assert list(found.paths) == ["a.png"]
    assert list(found.unreadable.values()) == ["more than 100 folders deep, so it is not read"]


def test_pipe_is_never_waited_for(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    source = ImageFolder(tmp_path)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    for look in (lambda: source.read(0, 3), lambda: source.channels(0)):
        with pytest.raises(BrokenImageError, match="not a regular file"):
            look()


def test_shards_and_patterns_of_files_are_read_by_braces_and_stars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        shard(tmp_path / f"p-{n:03d}.tar", {f"{n}.png": encoded(picture(n))})
        (tmp_path / f"{n}.jpg").write_bytes(encoded(picture(n), "JPEG"))
    for data in ("p-{000..002}.tar", "p-*.tar", "p-{000,001,002}.tar", str(tmp_path / "p-00?.tar"), "*.jpg"):
        assert len(open_source(data)) == 3
    assert len(open_source("p-{001..002}.tar")) == 2
    assert len(open_source(f"file://{tmp_path}/p-000.tar")) == 1
    for data, said in (
        ("p-{000..004}.tar", r"No file matches .*p-003\.tar"),
        ("q-*.tar", "No file matches"),
        ("p-{x}.tar", "not a range"),
    ):
        with pytest.raises(DataError, match=said):
            open_source(data)
    (tmp_path / "[1].npy").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as an array"):  # a file of exactly that name is that file
        open_source("[1].npy")


def test_photos_of_many_megapixels_are_read_up_to_the_setting(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    from byol.data.spec import DataSpec

    for i in range(2):
        Image.new("L", (12_000, 9_000), 90).save(tmp_path / f"{i}.png", compress_level=1)
    assert open_source(tmp_path).read(0, 1).shape == (9_000, 12_000, 1)
    small = open_source(DataSpec(str(tmp_path), max_megapixels=100))
    with pytest.raises(BrokenImageError, match="108,000,000 pixels are more than --max-megapixels"):
        small.read(0, 1)
    assert not recwarn.list
