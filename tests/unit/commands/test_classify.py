"""`byol classify`: fitting, keeping and using a classifier on pictures that colours tell apart, and what it refuses."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import byol
from byol.cli.main import main
from byol.commands.classify import classify
from byol.commands.fit_classifier import fit_classifier
from byol.errors import ByolError, ConfigError, DataError, EncoderError, RunError


@pytest.fixture
def sorter(encoder: Path, colours: Path, tmp_path: Path) -> Path:
    """A classifier of three colours."""
    return fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", most_wrong=20).path


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def pictures(folder: Path) -> torch.Tensor:
    """The pictures of a folder, (N, 3, 16, 16), in the order of their names."""
    images = [np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def few(colours: Path, out: Path, **counts: int) -> Path:
    """A folder with the first pictures of each class."""
    for name, count in counts.items():
        (out / name).mkdir(parents=True)
        for file in sorted((colours / "train" / name).iterdir())[:count]:
            shutil.copy(file, out / name)
    return out


def test_classifier_is_whole_in_its_folder_and_gives_probabilities(
    encoder: Path, colours: Path, sorter: Path, tmp_path: Path
) -> None:
    moved = sorter.rename(tmp_path / "moved")
    shutil.rmtree(encoder)
    classifier = byol.load_classifier(moved)
    found = classifier(pictures(colours / "test"))
    assert classifier.classes == ("blue", "green", "red")
    assert found.shape == (30, 3) and torch.allclose(found.sum(dim=1), torch.ones(30), atol=1e-5)
    truth = torch.arange(3).repeat_interleave(10)
    assert float((found.argmax(dim=1) == truth).float().mean()) > 0.8
    best = found.max(dim=1).values
    names = classifier.named(pictures(colours / "test"))
    assert [name == "unsure" for name in names] == [p <= classifier.about.threshold for p in best.tolist()]
    assert byol.load(moved)(pictures(colours / "test")).shape == (30, byol.load(moved).num_features)


def test_table_holds_what_the_classifier_says(sorter: Path, colours: Path, tmp_path: Path) -> None:
    result = classify(sorter, str(colours / "test"), tmp_path / "out.csv")
    table = rows(tmp_path / "out.csv")
    assert [row["file"] for row in table][:2] == ["blue/test-blue-00.png", "blue/test-blue-01.png"]
    found = byol.load_classifier(sorter)(pictures(colours / "test"))
    for row, probabilities in zip(table, found, strict=True):
        best, order = probabilities.sort(descending=True)
        names = [("blue", "green", "red")[number] for number in order.tolist()]
        assert (row["guess"], row["second_guess"]) == (names[0], names[1])
        assert float(row["probability"]) == pytest.approx(float(best[0]), abs=1e-3)
        assert float(row["second_probability"]) == pytest.approx(float(best[1]), abs=1e-3)
        assert row["class"] in (row["guess"], "unsure")
    assert result.counts["unsure"] == sum(row["class"] == "unsure" for row in table)
    assert result.wrong is not None
    wrong = [row["class"] != row["file"].split("/")[0] for row in table if row["class"] != "unsure"]
    assert result.wrong.value == pytest.approx(100 * sum(wrong) / len(wrong))
    every = classify(sorter, str(colours / "test"), tmp_path / "every.csv", threshold=0)
    none = classify(sorter, str(colours / "test"), tmp_path / "none.csv", threshold=1)
    assert (every.counts["unsure"], none.counts["unsure"]) == (0, 30)


@pytest.mark.parametrize("how", ["copy_to", "link_to"])
def test_sorted_files_lie_in_folders_of_classes_and_originals_stay(
    sorter: Path, colours: Path, tmp_path: Path, how: str
) -> None:
    photos = tmp_path / "photos"
    for place in ("a", "b", "c"):  # one name three times
        (photos / place).mkdir(parents=True)
        shutil.copy(colours / "test" / "red" / "test-red-00.png", photos / place / "red.png")
    shutil.copy(colours / "test" / "blue" / "test-blue-00.png", photos / "blue.png")
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in photos.rglob("*.png")}
    result = classify(sorter, str(photos), tmp_path / "out.csv", threshold=0, **{how: tmp_path / "sorted"})
    assert result.folder is not None
    table = {row["file"]: row for row in rows(tmp_path / "out.csv")}
    red = table["a/red.png"]["class"]
    assert [table[f"{place}/red.png"]["sorted_to"] for place in "abc"] == [
        f"{red}/red.png", f"{red}/red-2.png", f"{red}/red-3.png",
    ]  # fmt: skip
    for name, row in table.items():
        made = result.folder / row["sorted_to"]
        assert made.read_bytes() == (photos / name).read_bytes()
        assert made.is_symlink() == (how == "link_to")
        assert made.resolve() == (photos / name).resolve() or how == "copy_to"
    assert before == {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in photos.rglob("*.png")}
    with pytest.raises(RunError, match="exists already"):
        classify(sorter, str(photos), tmp_path / "again.csv", **{how: tmp_path / "sorted"})
    assert not (tmp_path / "again.csv").exists()
    with pytest.raises(RunError, match="in the folder of the images"):
        classify(sorter, str(photos), tmp_path / "again.csv", **{how: photos / "sorted"})


def test_images_without_files_have_a_table_and_no_folders(sorter: Path, colours: Path, tmp_path: Path) -> None:
    files = sorted((colours / "test").rglob("*.png"))
    pq.write_table(pa.table({"image": [file.read_bytes() for file in files]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="no files of their own, so that none can be copied or linked"):
        classify(sorter, str(tmp_path / "test.parquet"), tmp_path / "out.csv", copy_to=tmp_path / "sorted")
    assert not (tmp_path / "sorted").exists()
    classify(sorter, str(tmp_path / "test.parquet"), tmp_path / "out.csv")
    assert rows(tmp_path / "out.csv")[0]["file"] == "row 0"
    pq.write_table(pa.table({"path": [str(file.relative_to(tmp_path)) for file in files]}), tmp_path / "paths.parquet")
    result = classify(sorter, str(tmp_path / "paths.parquet"), tmp_path / "paths.csv", copy_to=tmp_path / "sorted")
    assert sum(result.counts.values()) == 30 == len([*(tmp_path / "sorted").rglob("*.png")])


def test_class_names_that_are_no_folder_names_are_cleaned(encoder: Path, colours: Path, tmp_path: Path) -> None:
    names = {"red": "a/b", "green": "a_b", "blue": ".."}
    lines = [f"{c}/{f.name},{names[c]}" for c in names for f in sorted((colours / "train" / c).iterdir())]
    (tmp_path / "labels.csv").write_text("file,label\n" + "\n".join(lines) + "\n")
    fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", labels=tmp_path / "labels.csv")
    classify(tmp_path / "sorter", str(colours / "test"), tmp_path / "out.csv", threshold=0, copy_to=tmp_path / "s")
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"_", "a_b", "a_b-2"}
    assert {row["class"] for row in rows(tmp_path / "out.csv")} == {"a/b", "a_b", ".."}


def test_two_images_per_class_work_and_a_lone_one_is_said(encoder: Path, colours: Path, tmp_path: Path) -> None:
    two = fit_classifier(
        encoder, str(few(colours, tmp_path / "two", red=2, green=2, blue=2)), tmp_path / "of-two", most_wrong=1
    )
    assert two.certainty.wrong is None
    assert any("nothing is named" in line and "--most-wrong" in line for line in two.words)
    result = classify(two.path, str(colours / "test"), tmp_path / "out.csv")
    assert result.counts == {"blue": 0, "green": 0, "red": 0, "unsure": 30}
    data = few(colours, tmp_path / "lone", red=5, green=5, blue=1)
    lone = fit_classifier(encoder, str(data), tmp_path / "of-lone", most_wrong=50)
    assert any(line.startswith("fitted but never held out") and line.endswith(": blue") for line in lone.words)
    assert byol.load_classifier(lone.path).classes == ("blue", "green", "red")
    assert "never held out" in (lone.path / "classifier.html").read_text()


def test_several_labels_are_independent_yes_and_no(encoder: Path, colours: Path, tmp_path: Path) -> None:
    lines = []
    for name in ("red", "green", "blue"):
        for number, file in enumerate(sorted((colours / "train" / name).iterdir())):
            marks = [name, "warm" if name == "red" else "cold"]
            lines.append(f"{file},{';'.join(marks) if number else name}")
    (tmp_path / "labels.csv").write_text("image,tags\n" + "\n".join(lines))
    spec = byol.DataSpec(str(colours / "train"), label_column="tags")
    fitted = fit_classifier(encoder, spec, tmp_path / "sorter", labels=tmp_path / "labels.csv", most_wrong=30)
    classifier = byol.load_classifier(fitted.path)
    assert classifier.classes == ("blue", "cold", "green", "red", "warm") and classifier.about.several
    found = classifier(pictures(colours / "test"))
    truth = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]).repeat_interleave(10, dim=0)
    assert float(((found > 0.5) == truth).float().mean()) > 0.8
    classify(fitted.path, str(colours / "test"), tmp_path / "out.csv", copy_to=tmp_path / "sorted")
    for row, probabilities in zip(rows(tmp_path / "out.csv"), found, strict=True):
        named = [n for n, p in zip(classifier.classes, probabilities, strict=True) if p > classifier.about.threshold]
        assert set(row["classes"].split(";")) == set(named or ["unsure"])
        assert float(row["cold"]) == pytest.approx(float(probabilities[1]), abs=1e-3)
        assert len(row["sorted_to"].split(";")) == max(1, len(named))
    page = (fitted.path / "classifier.html").read_text()
    assert "not " in page and 'class="matrix"' not in page
    with pytest.raises(ConfigError, match="--finetune takes one class per image"):
        fit_classifier(encoder, spec, tmp_path / "other", labels=tmp_path / "labels.csv", finetune=True)


def test_columns_of_yes_and_no_are_several_labels(encoder: Path, colours: Path, tmp_path: Path) -> None:
    files = [f"{file.parent.name}/{file.name}" for file in sorted((colours / "train").rglob("*.png"))]
    lines = [f"{f},{int(f[0] == 'r')},{'' if n % 7 == 0 else int(f[0] == 'b')}" for n, f in enumerate(files)]
    (tmp_path / "labels.csv").write_text("file,red,blue\n" + "\n".join(lines))
    fitted = fit_classifier(encoder, str(colours / "train"), tmp_path / "s", labels=tmp_path / "labels.csv")
    assert byol.load_classifier(fitted.path).classes == ("blue", "red")
    record = json.loads((fitted.path / "classifier.json").read_text())
    assert record["fit"]["data"]["per_class"]["red"] == 20


def test_finetuned_encoder_is_kept_and_calibrated(encoder: Path, colours: Path, tmp_path: Path) -> None:
    fitted = fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", finetune=True, workers=0)
    before, after = byol.load(encoder), byol.load(fitted.path)
    images = pictures(colours / "test")
    assert not torch.allclose(before(images), after(images))
    found = byol.load_classifier(fitted.path)(images)
    assert float((found.argmax(dim=1) == torch.arange(3).repeat_interleave(10)).float().mean()) > 0.8
    record = json.loads((fitted.path / "classifier.json").read_text())
    assert record["fit"]["finetuned"] and record["fit"]["held_out"]["images"] == 12
    assert any("with the frozen encoder" in line for line in fitted.words)


def test_page_escapes_names_and_is_complete(encoder: Path, colours: Path, tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    (colours / "train" / "red").rename(colours / "train" / nasty)
    fitted = fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", most_wrong=10)
    page = (fitted.path / "classifier.html").read_text()
    assert "<img" not in page and "&lt;img src=x" in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []
    for part in ("verdict", "errors", "hardest", "calibration", "fit"):
        assert f'<section id="{part}">' in page
    shown = [int(count or 0) for count in re.findall(r"<td style=\"--share[^>]*>(\d*)</td>", page)]
    assert len(shown) == 9 and sum(shown) == 60


def change(sorter: Path) -> None:
    """Changes the encoder beside a head by one weight."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(sorter / "encoder.safetensors")
    tensors["conv1.weight"][0, 0, 0, 0] += 0.1
    save_file(tensors, sorter / "encoder.safetensors")


def refused(
    sorter: Path, colours: Path, tmp_path: Path, encoder: Path
) -> dict[str, tuple[type[ByolError], str, "list[object]"]]:
    """Requests that are refused: error, words of its sentence, function and arguments."""
    train, out = str(colours / "train"), tmp_path / "new"
    (tmp_path / "one.csv").write_text("file,label\n" + "".join(f"red/train-red-0{n}.png,cat\n" for n in range(5)))
    (tmp_path / "lost.csv").write_text("file,label\nred/train-red-00.png,a\nred/nowhere.png,b\n")
    (tmp_path / "twice.csv").write_text("file,label\nred/train-red-00.png,a\nred/train-red-00.png,b\n")
    (tmp_path / "all.csv").write_text("file,a,b\nred/train-red-00.png,1,1\nred/train-red-01.png,1,0\n")
    (tmp_path / "apart.csv").write_text("file,labels\nred/train-red-00.png,a;b\nred/train-red-01.png,c\n")
    (tmp_path / "bare.csv").write_text("name,label\nx,y\n")
    deep = np.zeros((6, 16, 16, 5), np.uint8)
    np.save(tmp_path / "deep.npy", deep)
    unsure = few(colours, tmp_path / "unsure-data", red=3, green=3)
    (unsure / "green").rename(unsure / "unsure")
    each = few(colours, tmp_path / "each", red=1, green=1, blue=1)
    other = shutil.copytree(sorter, tmp_path / "other")
    change(other)
    return {
        "one class": (DataError, "one class only, cat", [fit_classifier, encoder, train, out, "one.csv"]),
        "one image each": (DataError, "no class with two images", [fit_classifier, encoder, str(each), out, ""]),
        "a class unsure": (DataError, "Rename the class", [fit_classifier, encoder, str(unsure), out, ""]),
        "lost file": (DataError, "1 file that .* does not have: red/nowhere.png", [fit_classifier, encoder, train, out, "lost.csv"]),
        "two labels": (DataError, "twice, as a and as b", [fit_classifier, encoder, train, out, "twice.csv"]),
        "label on all": (DataError, "label a is on every image", [fit_classifier, encoder, train, out, "all.csv"]),
        "no two alike": (DataError, "no class with two images", [fit_classifier, encoder, train, out, "apart.csv"]),
        "no files": (DataError, "no column of files", [fit_classifier, encoder, train, out, "bare.csv"]),
        "no labels": (DataError, "no labels", [fit_classifier, encoder, str(colours / "train" / "red"), out, ""]),
        "no network": (EncoderError, "no network to keep", [fit_classifier, "pixels", train, out, ""]),
        "other channels": (DataError, "5 channels, and the encoder takes 3", [classify, sorter, str(tmp_path / "deep.npy"), tmp_path / "x.csv"]),
        "changed encoder": (EncoderError, "changed after the classifier was fitted", [classify, other, train, tmp_path / "x.csv"]),
        "no classifier": (RunError, "is no classifier", [classify, encoder, train, tmp_path / "x.csv"]),
        "no table": (DataError, "must end in .csv", [classify, sorter, train, tmp_path / "x.txt"]),
    }  # fmt: skip


def test_bad_input_is_one_sentence_and_leaves_nothing(
    sorter: Path, colours: Path, tmp_path: Path, encoder: Path
) -> None:
    for name, (kind, words, (function, one, data, out, *labels)) in refused(sorter, colours, tmp_path, encoder).items():
        more = {"labels": tmp_path / str(labels[0])} if labels and labels[0] else {}
        with pytest.raises(kind, match=words) as error:
            function(one, data, out, **more)  # pyright: ignore[reportCallIssue]
        assert "\n" not in str(error.value), name
        assert not Path(str(out)).exists(), name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_folders_of_other_names_are_not_compared(sorter: Path, colours: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    (colours / "test" / "red").rename(colours / "test" / "pink")
    result = classify(sorter, str(colours / "test"), tmp_path / "out.csv", threshold=0, say=lines.append)
    assert result.wrong is None
    assert any("the classifier knows no pink" in line for line in lines)


def test_command_fits_predicts_and_refuses_options_of_the_other(
    encoder: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["classify", *words])
        return int(ended.value.code or 0)

    assert run("fit", str(encoder), "--data", "colours/train", "--out", "sorter", "--most-wrong", "20") == 0
    printed = capsys.readouterr().out
    assert "right in cross-validation" in printed and "--threshold" not in printed
    few = "--most-wrong", "0.000001"
    assert run("fit", str(encoder), "--data", "colours/train", "--out", "names-none", *few) == 0
    assert "predictions.csv --copy-to sorted --threshold 0\n" in capsys.readouterr().out
    assert run("predict", "sorter", "--data", "colours/test", "--out", "out.csv", "--link-to", "sorted") == 0
    printed = capsys.readouterr().out
    assert "written to out.csv; sorted in sorted" in printed and re.search(r"unsure +\d", printed)
    assert re.search(r"images \d+\.\d \[.*\] % of the names were wrong \(--most-wrong 20\)\. Expect more", printed)
    assert run("predict", "sorter", "--data", "colours/test", "--out", "out.csv") == 1
    assert "exists already" in capsys.readouterr().err
    assert run("fit", str(encoder), "--data", "colours/train", "--out", "x", "--copy-to", "y") == 2
    assert "--copy-to belongs to byol classify predict" in capsys.readouterr().err
    assert run("predict", "sorter", "--data", "colours/test", "--out", "y.csv", "--finetune") == 2
    assert run("fit", str(encoder), "--data", "colours/train", "--out", "x", "--most-wrong", "101") == 1
    assert os.listdir("sorted")


def wrong_table(colours: Path, tmp_path: Path) -> Path:
    """Labels of twelve pictures of each colour, three of which are called by another one."""
    lines = ["file,label"]
    for place, name in enumerate(("red", "green", "blue")):
        for number in range(12):
            called = ("green", "blue", "red")[place] if number == 0 else name
            lines.append(f"{name}/train-{name}-{number:02d}.png,{called}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "labels.csv"


def test_what_the_user_said_stands_wherever_the_file_lies(encoder: Path, colours: Path, tmp_path: Path) -> None:
    data, labels = str(colours / "train"), wrong_table(colours, tmp_path)
    fitted = fit_classifier(encoder, data, tmp_path / "sorter", labels=labels, most_wrong=30)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (colours / "train").rglob("*.png"):
        shutil.copy(file, elsewhere / f"x-{file.name}")
    given = {row["file"]: row["label"] for row in rows(labels)}
    for place, threshold in ((data, None), (str(elsewhere), None), (data, 1)):
        shutil.rmtree(tmp_path / "sorted", ignore_errors=True)
        (tmp_path / "out.csv").unlink(missing_ok=True)
        result = classify(
            fitted.path, place, tmp_path / "out.csv", threshold=threshold, copy_to=tmp_path / "sorted"
        )  # fmt: skip
        table = {
            re.sub(r"^(x-)?train-(\w+)-", r"\2/train-\2-", Path(r["file"]).name): r for r in rows(tmp_path / "out.csv")
        }
        assert len(table) == 60
        for name, row in table.items():
            assert row["labelled"] == ("yes" if name in given else "")
            assert name not in given or row["class"] == given[name] == row["sorted_to"].split("/")[0]
        assert result.labelled == 36
        assert threshold != 1 or result.counts == {"blue": 12, "green": 12, "red": 12, "unsure": 24}
        another = [r for r in table.values() if r["labelled"] and r["guess"] != r["class"]]
        sure = [r for r in another if float(r["probability"]) > max(fitted.certainty.threshold, 0.5)]
        assert result.denied == (len(sure) if threshold is None else 0)
        others = [r for r in table.values() if not r["labelled"] and r["class"] != "unsure"]
        if place == data and threshold is None:  # what the user said is no name of the classifier
            assert result.denied == 3 and result.wrong is not None
            wrong = [r["class"] != r["file"].split("/")[0] for r in others]
            assert result.wrong.value == pytest.approx(100 * sum(wrong) / len(wrong))
    (elsewhere / "x-train-red-03.png").write_bytes((colours / "test" / "red" / "test-red-00.png").read_bytes())
    changed = classify(fitted.path, str(elsewhere), tmp_path / "changed.csv")
    assert changed.labelled == 35


def test_labels_of_yes_and_no_stand_and_unknown_ones_are_left_to_the_classifier(
    encoder: Path, colours: Path, tmp_path: Path
) -> None:
    files = [f"{file.parent.name}/{file.name}" for file in sorted((colours / "train").rglob("*.png"))]
    lines = [f"{f},{int(f[0] == 'r')},{'' if n % 2 else int(f[0] == 'b')}" for n, f in enumerate(files)]
    lines[0] = f"{files[0]},1,0"  # a blue picture
    (tmp_path / "labels.csv").write_text("file,red,blue\n" + "\n".join(lines))
    fitted = fit_classifier(
        encoder, str(colours / "train"), tmp_path / "s", labels=tmp_path / "labels.csv", most_wrong=30
    )
    pq.write_table(pa.table({"image": [(colours / "train" / f).read_bytes() for f in files]}), tmp_path / "all.parquet")
    result = classify(fitted.path, str(tmp_path / "all.parquet"), tmp_path / "out.csv")
    table, threshold = rows(tmp_path / "out.csv"), fitted.certainty.threshold
    assert result.labelled == 60 and {row["labelled"] for row in table} == {"yes"}
    sure = max(threshold, 0.5)
    against = [
        [n for n in ("red", "blue") if float(row[n]) > sure and cells[("red", "blue").index(n)] == "0"]
        for row, cells in zip(table, (line.split(",")[1:] for line in lines), strict=True)
    ]
    assert result.denied == sum(map(bool, against))
    for number, (file, row) in enumerate(zip(files, table, strict=True)):
        expected = {"red"} if number == 0 or file[0] == "r" else set()
        if number % 2:
            expected |= {"blue"} if float(row["blue"]) > threshold else set()
        elif number:
            expected |= {"blue"} if file[0] == "b" else set()
        assert set(row["classes"].split(";")) == (expected or {"unsure"})
    assert sum(bool(n % 2) and "blue" in row["classes"] for n, row in enumerate(table)) > 5


def test_classifier_without_labels_of_its_own_says_so_and_a_damaged_file_is_refused(
    sorter: Path, colours: Path, tmp_path: Path
) -> None:
    content = (sorter / "labelled.csv").read_text()
    assert len(content.splitlines()) == 61 and content.startswith("file,bytes,digest,label\nblue/train-blue-00.png,")
    (sorter / "labelled.csv").unlink()
    said: list[str] = []
    result = classify(sorter, str(colours / "train"), tmp_path / "out.csv", say=said.append)
    assert result.labelled == 0 and rows(tmp_path / "out.csv")[0]["labelled"] == ""
    assert any("keeps no labels" in line and "Fit again" in line for line in said)
    for number, text in enumerate(("file,label\na,b\n", content.replace(",red\n", ",pink\n"), content + "x\n", "")):
        (sorter / "labelled.csv").write_text(text)
        with pytest.raises(RunError, match=r"labelled.csv cannot be read .*Fit again"):
            classify(sorter, str(colours / "train"), tmp_path / f"{number}.csv")


def test_copies_with_two_labels_are_said_and_stand_for_neither(encoder: Path, colours: Path, tmp_path: Path) -> None:
    shutil.copy(colours / "train" / "red" / "train-red-04.png", colours / "train" / "blue" / "copy.png")
    shutil.copy(colours / "train" / "red" / "train-red-05.png", colours / "train" / "red" / "again.png")
    said: list[str] = []
    fit_classifier(encoder, str(colours / "train"), tmp_path / "sorter", say=said.append)
    assert [line for line in said if "different labels" in line] == [
        "1 picture is there twice with different labels (blue/copy.png), so that neither stands: it will be named like pictures without a label"
    ]
    result = classify(tmp_path / "sorter", str(colours / "train"), tmp_path / "out.csv")
    assert result.labelled == 60
    assert [r["file"] for r in rows(tmp_path / "out.csv") if not r["labelled"]] == [
        "blue/copy.png",
        "red/train-red-04.png",
    ]
