"""`byol audit`: planted faults stand in the list and on the page; what needs labels is left out without them."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from byol.cli.main import main
from byol.commands.audit import audit
from byol.errors import ByolError
from tests.conftest import encoded, picture


@pytest.fixture
def faulty(colours: Path) -> Path:
    """Two flipped labels, a copy with another label, a leak, a dark picture, and a broken file, among 60 and 30 pictures."""
    train = colours / "train"
    for number in (3, 4):
        shutil.move(train / "red" / f"train-red-{number:02d}.png", train / "blue" / f"flipped-{number}.png")
    shutil.copy(train / "green" / "train-green-05.png", train / "red" / "copy.png")
    shutil.copy(train / "green" / "train-green-07.png", colours / "test" / "green" / "leak.png")
    (train / "green" / "dark.png").write_bytes(encoded(picture(5, 16, 16) // 8))
    (train / "green" / "torn.png").write_bytes(b"no image")
    return colours


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        return [(Path(row["file"]).name, row["finding"]) for row in csv.DictReader(file)]


def test_planted_faults_are_listed_shown_and_counted(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((file, file.read_bytes()) for file in faulty.rglob("*.png"))
    with pytest.raises(SystemExit, match="0"):
        main(["audit", "pixels", "--data", str(faulty), "--out", str(tmp_path / "audit")])
    shown = capsys.readouterr().out
    found = rows(tmp_path / "audit" / "audit.csv")
    planted = [
        ("copy.png", "copy"), ("train-green-05.png", "copy"),
        ("copy.png", "conflict"), ("leak.png", "leak"), ("dark.png", "dark"), ("torn.png", "broken"),
    ]  # fmt: skip
    assert set(planted) <= set(found)
    assert {("flipped-3.png", "wrong label"), ("flipped-4.png", "wrong label")} & set(found)
    assert [name for name, kind in found if kind == "leak"] == ["leak.png"]
    assert re.search(r"(?m)^leak +1 ", shown) and "need a look" in shown
    page = (tmp_path / "audit" / "audit.html").read_text()
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])  # pyright: ignore[reportOptionalSubscript]
    sections = {section["kind"].partition(" (")[0]: section for section in content["sections"]}
    assert [
        content["points"]["names"][image].rpartition("/")[2] for image in sections["leak"]["shown"][0]["images"]
    ] == ["leak.png", "train-green-07.png"]
    assert sections["broken"]["lines"][0].startswith("green/torn.png: ")
    assert sorted((file, file.read_bytes()) for file in faulty.rglob("*.png")) == before
    again = audit("pixels", str(faulty), out=tmp_path / "audit")
    assert again.counts["leak"] == 1
    assert sorted(path.name for path in (tmp_path / "audit" / "earlier").iterdir()) == ["audit-1.csv", "audit-1.html"]


def test_without_labels_it_tells_what_needs_none(faulty: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in faulty.glob("train/*/*.png"):
        shutil.copy(file, flat)
    found = audit("pixels", str(flat), out=tmp_path / "audit")
    assert {"copy", "dark", "broken"} <= set(found.counts) <= {"copy", "near-duplicate", "dark", "broken", "outlier"}
    assert found.findings.notes == ["There are no labels: wrong labels, classes and shortcuts are not looked for."]
    test = audit("pixels", str(flat), test_data=str(faulty / "test"), out=tmp_path / "both")
    assert test.counts["leak"] == 1


def test_labels_of_a_table_are_audited_and_those_of_a_classifier_are_not(faulty: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    table = ["file,label"]
    for file in sorted((faulty / "train").glob("*/*.png")):
        shutil.copy(file, flat)
        table += [f"{file.name},{file.parent.name}"] if file.name != "dark.png" else []
    (tmp_path / "labels.csv").write_text("\n".join(table) + "\n")
    found = audit("pixels", str(flat), labels=tmp_path / "labels.csv", out=tmp_path / "audit")
    names = rows(tmp_path / "audit" / "audit.csv")
    assert {("flipped-3.png", "wrong label"), ("flipped-4.png", "wrong label")} & set(names)
    assert found.counts["conflict"] == 2 and "dark.png" not in {name for name, _ in names}
    (faulty / "train" / "red").rename(faulty / "train" / "unsure")
    with pytest.raises(
        ByolError, match=r"has a class called unsure, as byol classify sorts images\. .* audit labels that"
    ):
        audit("pixels", str(faulty / "train"), out=tmp_path / "other")
    (tmp_path / "several.csv").write_text("file,label\nflipped-3.png,red;blue\nflipped-4.png,red\n")
    with pytest.raises(ByolError, match="several labels per image; an audit takes one class for each"):
        audit("pixels", str(flat), labels=tmp_path / "several.csv", out=tmp_path / "other")


def test_properties_and_sizes_of_classes_are_told(tmp_path: Path) -> None:
    for label, count in (("few", 6), ("many", 70)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(count):
            name, kind = ("scan", "PNG") if label == "few" else ("photo", "JPEG")
            file = tmp_path / "data" / label / f"{name}{number}.{kind.lower()}"
            file.write_bytes(encoded(picture(number + 100 * count), kind))
    found = audit("pixels", str(tmp_path / "data"), out=tmp_path / "audit").findings
    assert found.of("imbalance")[0].detail == "many has 70 images, few has 6"
    assert {finding.detail.partition(" alone ")[0] for finding in found.of("shortcut")} >= {
        "format (ending of the name)",
        "file name (numbers as 0)",
    }


@pytest.mark.parametrize("single", ["one class", "one image"])
def test_labels_that_cannot_be_checked_are_said(colours: Path, tmp_path: Path, single: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(colours / "train", data)
    if single == "one class":
        for name in ("red", "green"):
            for file in sorted((data / name).iterdir())[3:]:
                file.unlink()
        said = "Labels are not checked: that needs two classes with 5 images or more."
    else:
        for file in sorted((data / "red").iterdir())[1:]:
            file.unlink()
        said = "Labels of classes with fewer than 5 images are not checked: red (1)."
    found = audit("pixels", str(data), out=tmp_path / "audit").findings
    assert said in found.notes and (found.accuracy is None) == (single == "one class")


def test_bad_request_is_one_sentence(encoder: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(encoded(picture(1)))
    with pytest.raises(ByolError, match="an audit needs two"):
        audit(encoder, str(tmp_path / "one"), out=tmp_path / "audit")
    with pytest.raises(ByolError, match="is in the folder of the images"):
        audit("pixels", str(colours), out=colours / "audit")


def test_vectors_of_other_images_or_of_another_encoder_are_not_used(
    encoder: Path, colours: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    work = lambda what, done, total: said.append(what)  # noqa: E731
    for number in range(2):
        audit(encoder, str(colours), out=tmp_path / f"audit-{number}", show=work)
        assert ("reading" in said) == (number == 0)
        said.clear()
    shutil.copy(colours / "train" / "red" / "train-red-01.png", colours / "train" / "red" / "train-red-02.png")
    found = audit(encoder, str(colours), out=tmp_path / "audit", show=work)
    assert "reading" in said and found.counts["copy"] == 2
