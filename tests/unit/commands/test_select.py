"""`byol select`: the list, copies and links, what is labelled already, refusals."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from byol.cli.main import main
from byol.commands.audit import audit
from byol.commands.classify import classify
from byol.commands.fit_classifier import fit_classifier
from byol.commands.select import select
from byol.data.image_folder import ImageFolder
from byol.data.image_list import read_list
from byol.errors import ByolError


@pytest.fixture
def pool(colours: Path, tmp_path: Path) -> Path:
    """60 pictures in one flat folder, three of them twice."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for file in colours.glob("train/*/*.png"):
        shutil.copy(file, folder)
    for number in range(3):
        shutil.copy(folder / f"train-red-{number:02d}.png", folder / f"copy-{number}.png")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_list_names_files_by_rank_and_copies_leave_the_originals(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in pool.iterdir()}
    words = ["select", "pixels", "--data", str(pool), "--count", "12", "--out", str(tmp_path / "next.csv")]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--copy-to", str(tmp_path / "copies"), "--labelled", ""])
    assert f"12 images written to {tmp_path / 'next.csv'}" in capsys.readouterr().out
    found = rows(tmp_path / "next.csv")
    assert [row["rank"] for row in found] == [str(rank) for rank in range(1, 13)]
    assert all(row["file"] in before and row["reason"] and float(row["score"]) >= 0 for row in found)
    copies = sorted((tmp_path / "copies").iterdir())
    assert [copy.name for copy in copies] == [f"{int(row['rank']):02d}-{Path(row['file']).name}" for row in found]
    assert all(copy.read_bytes() == before[row["file"]] for copy, row in zip(copies, found, strict=True))
    assert {file.name: file.read_bytes() for file in pool.iterdir()} == before
    linked = select("pixels", pool, tmp_path / "again.csv", count=12, link_to=tmp_path / "links")
    assert [image.file for image in linked.images] == [row["file"] for row in found]
    assert [link.resolve() for link in sorted((tmp_path / "links").iterdir())] == [pool / row["file"] for row in found]


@pytest.mark.parametrize("kind", ["folder", "csv", "txt"])
def test_labelled_images_and_their_copies_are_not_chosen(kind: str, colours: Path, pool: Path, tmp_path: Path) -> None:
    names = [f"train-{colour}-{number:02d}.png" for colour in ("red", "blue") for number in range(8)]
    labelled = tmp_path / f"labelled.{kind}"
    if kind == "folder":
        for name in names:
            (labelled / name.split("-")[1]).mkdir(parents=True, exist_ok=True)
            shutil.copy(pool / name, labelled / name.split("-")[1])
    elif kind == "csv":
        labelled.write_text("file,label\n" + "".join(f"{pool / name},{name.split('-')[1]}\n" for name in names))
    else:
        labelled.write_text("".join(f"{name}\n" for name in names))
    left_out = {*names, *(f"copy-{number}.png" for number in range(3))}
    by = "coverage" if kind == "txt" else "uncertain"
    found = select("pixels", pool, tmp_path / "next.csv", count=20, by=by, labelled=labelled)
    assert not left_out & {Path(image.file).name for image in found.images} and len(found.images) == 20
    if by == "uncertain":
        assert "unsure: " in found.images[0].reason and "red" in found.images[0].reason
    else:
        with pytest.raises(ByolError, match="needs --labelled with images of two classes or more; found none"):
            select("pixels", pool, tmp_path / "more.csv", by="uncertain", count=5, labelled=labelled)


def test_fewer_are_chosen_where_the_others_repeat_them(tmp_path: Path) -> None:
    from tests.conftest import encoded, picture

    (tmp_path / "pool").mkdir()
    for number in range(16):
        (tmp_path / "pool" / f"{number:02d}.png").write_bytes(encoded(picture(number // 2)))
    said: list[str] = []
    found = select("pixels", tmp_path / "pool", tmp_path / "next.csv", count=10, by="coverage", say=said.append)
    assert len(found.images) == 8 and any("8 images chosen: all others are too like" in line for line in said)


def test_bad_request_is_one_sentence_and_leaves_nothing(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "next.csv"
    (tmp_path / "gone.txt").write_text("train-red-00.png\nnowhere.png\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    np.save(tmp_path / "array.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8))
    requests = (
        ({"count": 64}, "64 images cannot be chosen of 63"),
        ({"count": 0}, "--count must be at least 1; found 0"),
        ({"by": "typicl"}, "no method 'typicl'. Did you mean 'typical'"),
        ({"by": "uncertain"}, "needs --labelled with images of two classes or more; found none"),
        ({"labelled": str(tmp_path / "gone.txt")}, "gone.txt names 1 file that .* does not have: nowhere.png"),
        ({"out": pool / "next.csv"}, "is in the folder of the images"),
        ({"out": tmp_path / "next.txt"}, "must end in .csv"),
        ({"copy_to": tmp_path / "full"}, "full exists already and is not an empty folder"),
        ({"copy_to": "a", "link_to": "b"}, "--copy-to or --link-to, not both"),
        (
            {"data": tmp_path / "array.npy", "copy_to": tmp_path / "new", "count": 5},
            "holds images that are no files of their own",
        ),
    )
    for change, said in requests:
        asked = {"data": pool, "out": out, "count": 5} | change
        with pytest.raises(ByolError, match=said):
            select("pixels", **asked)  # pyright: ignore[reportArgumentType]
    assert not out.exists() and not (tmp_path / "new").exists() and len(list((tmp_path / "full").iterdir())) == 1
    out.write_text("mine")
    with pytest.raises(ByolError, match="exists already; choose another --out"):
        select("pixels", pool, out, count=5)


def test_every_table_names_files_as_their_folder_does_and_is_read_from_anywhere(
    encoder: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """select, audit, explore and classify, with the folder named by a path that only the first place knows."""
    names = {f"{file.parent.name}/{file.name}" for file in (colours / "train").rglob("*.png")}
    (colours / "train" / "red" / "torn.png").write_bytes(b"junk")
    monkeypatch.chdir(colours)
    select(encoder, "train", tmp_path / "next.csv", count=12)
    audit(encoder, "train", out=tmp_path / "audit")
    audit(encoder, "train", test_data="test", out=tmp_path / "both")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    source = ImageFolder(colours / "train", cache=None)
    listed = read_list(tmp_path / "next.csv", source).indices
    assert [source.name(index) for index in listed] == [row["file"] for row in rows(tmp_path / "next.csv")]
    for place in ("audit", "both"):
        found = rows(tmp_path / place / "audit.csv")
        assert [row["file"] for row in found if row["finding"] == "broken"] == ["red/torn.png"]
        test = {f"{file.parent.name}/{file.name}" for file in (colours / "test").rglob("*.png")}
        known = names | {"red/torn.png"} | (test if place == "both" else set())
        assert {row["file"] for row in found} - {""} <= known
        for row in found:
            inside = {f"train/{row['file']}", f"test/{row['file']}"} if row["file"] else {""}
            assert row["path"] in inside and (not row["path"] or (colours / row["path"]).is_file())
    shown = read_list(tmp_path / "audit" / "audit.csv", source).indices
    assert {source.name(i) for i in shown} == {row["file"] for row in rows(tmp_path / "audit" / "audit.csv")} - {""}
    more = select(encoder, str(colours / "train"), tmp_path / "more.csv", count=5, labelled=tmp_path / "next.csv")
    assert not {image.file for image in more.images} & {row["file"] for row in rows(tmp_path / "next.csv")}
    labels = "".join(f"{row['file']},{row['file'].split('/')[0]}\n" for row in rows(tmp_path / "next.csv"))
    (tmp_path / "labels.csv").write_text(f"file,label\n{labels}")
    fitted = fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", labels=tmp_path / "labels.csv")
    classify(fitted.path, str(colours / "train"), tmp_path / "out.csv")
    assert {row["file"] for row in rows(tmp_path / "out.csv")} == names
