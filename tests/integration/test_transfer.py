"""The suite over data sets: torchvision's own layouts, resumed results, and the table beside the paper's numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from byol.cli.main import main
from byol.commands.transfer import Row, table, transfer
from byol.data.labelled import labelled_splits
from byol.data.named import NAMES
from byol.data.open import open_source
from byol.data.spec import DataSpec
from byol.data.torchvision_sets import TORCHVISION_SETS, open_torchvision
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.errors import ByolError, DataError, RunError
from byol.evaluate.scores import Score
from byol.evaluate.transfer_sets import TRANSFER_SETS
from byol.nets.encoder import create_encoder
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture


def images(folder: Path, names: list[str], start: int = 0) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(picture(start + number, 20 + number % 3, 24), "JPEG"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a small encoder of random weights."""
    torch.manual_seed(0)
    module = create_encoder("resnet10", width=0.125, image_size=16)
    folder = tmp_path / "run"
    folder.mkdir()
    description = EncoderDescription("resnet10", {"width": 0.125}, 64, 3, 16, (0.5,) * 3, (0.25,) * 3, False)
    save_encoder(folder, module, description)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """DTD, Pets, Aircraft and Caltech-101 in torchvision's layouts, a few images each."""
    folder = tmp_path / "sets"
    dtd = folder / "dtd" / "dtd"
    for split, numbers in {"train": range(4), "val": range(4, 8), "test": range(8, 14)}.items():
        names = [f"{kind}/{kind}_{n}.jpg" for kind in ("dotted", "woven") for n in numbers]
        images(dtd / "images", names, start=numbers[0])
        (dtd / "labels").mkdir(exist_ok=True)
        (dtd / "labels" / f"{split}1.txt").write_text("\n".join(names) + "\n")
    pets = folder / "oxford-iiit-pet"
    for split, numbers in {"trainval": range(6), "test": range(6, 9)}.items():
        names = [f"{kind}_{n}" for kind in ("Birman", "pug") for n in numbers]
        images(pets / "images", [f"{name}.jpg" for name in names])
        (pets / "annotations").mkdir(exist_ok=True)
        (pets / "annotations" / f"{split}.txt").write_text(
            "".join(f"{name} {1 + (name[0] == 'p')} 1 1\n" for name in names)
        )
    aircraft = folder / "fgvc-aircraft-2013b" / "data"
    for split, numbers in {"train": range(3), "val": range(3, 5), "test": range(5, 9)}.items():
        names = [f"{kind}{n}" for kind in (10, 20) for n in numbers]
        images(aircraft / "images", [f"{name}.jpg" for name in names])
        (aircraft / f"images_variant_{split}.txt").write_text(
            "".join(f"{name} {'A 380' if name[0] == '1' else '707'}\n" for name in names)
        )
    (aircraft / "variants.txt").write_text("707\nA 380\n")
    caltech = folder / "caltech101"
    (caltech / "Annotations").mkdir(parents=True)
    for kind, count in {"ant": 33, "BACKGROUND_Google": 2, "crab": 31}.items():
        images(caltech / "101_ObjectCategories" / kind, [f"image_{n:04d}.jpg" for n in range(1, count + 1)])
    voc = folder / "VOCdevkit" / "VOC2007"
    (voc / "Annotations").mkdir(parents=True)
    for split, numbers in {"train": range(12), "val": range(12, 20), "test": range(20, 40)}.items():
        names = [f"{n:06d}" for n in numbers]
        images(voc / "JPEGImages", [f"{name}.jpg" for name in names], start=numbers[0])
        (voc / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for kind, every in {"bird": 2, "aeroplane": 3}.items():
            lines = [f"{n:06d} {0 if n == 7 else 1 if n % every == 0 else -1:2d}" for n in numbers]
            (voc / "ImageSets" / "Main" / f"{kind}_{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


def smoke(*arguments: Any, **options: Any) -> list[Row]:
    return transfer(*arguments, **{"budget": "smoke", "workers": 0} | options)


def test_published_parts_of_torchvisions_sets(root: Path) -> None:
    parts = {name: open_torchvision(DataSpec(name, str(root))) for name in ("dtd", "pets", "aircraft", "caltech101")}
    sizes = {name: (len(p.train), len(p.test), p.validation) for name, p in parts.items()}
    assert sizes["dtd"][:2] == (16, 12)
    assert sizes["aircraft"][:2] == (10, 8)
    assert sizes["pets"] == (12, 6, None)
    assert sizes["caltech101"] == (60, 4, None)
    for name, wanted in {"dtd": "dotted_4.jpg", "aircraft": "103.jpg"}.items():
        validation = parts[name].validation
        assert validation is not None
        assert parts[name].train.name(int(validation[0])).endswith(wanted)
    assert parts["aircraft"].train.labels is not None
    assert parts["aircraft"].train.labels.tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 0, 0]
    assert parts["pets"].train.read(0, 3).shape[2] == 3
    train, test = parts["caltech101"].train, parts["caltech101"].test
    assert not {train.name(i) for i in range(60)} & {test.name(i) for i in range(4)}
    assert train.class_names == ["ant", "crab"]


@pytest.mark.parametrize("data", ["pets", "set:pets", "caltech101"])
def test_data_names_every_set_that_transfer_names(root: Path, data: str) -> None:
    assert set(TORCHVISION_SETS) <= set(NAMES)
    spec = DataSpec(data, str(root))
    published = open_torchvision(DataSpec(data.removeprefix("set:"), str(root)))
    train, test = labelled_splits(spec)
    for source, part in ((train, published.train), (test, published.test), (open_source(spec), published.train)):
        assert [source.name(i) for i in range(len(source))] == [part.name(i) for i in range(len(part))]
        assert (source.labels == part.labels).all()
        assert source.class_names == part.class_names


def test_set_with_several_labels_is_opened_without_labels(root: Path) -> None:
    spec = DataSpec("voc2007", str(root))
    assert (len(open_source(spec)), open_source(spec).labels) == (20, None)
    with pytest.raises(DataError, match=r"VOC2007 trainval has no labels \(its images have several classes each"):
        labelled_splits(spec)


def test_sets_by_default_are_those_that_the_protocol_can_do(run: Path, tmp_path: Path) -> None:
    for protocol, missing in (("linear-fast", set()), ("finetune", {"voc2007"})):
        rows = smoke(run, protocol=protocol, place=DataSpec("", str(tmp_path / "nothing")))
        assert {row.name for row in rows} == set(TORCHVISION_SETS) - missing


def test_result_of_other_labels_is_not_kept(run: Path, photos: Path, tmp_path: Path) -> None:
    images = [file.read_bytes() for file in sorted(photos.rglob("*.jpg"))]
    for turn, labels in enumerate(([0, 1] * 20, [0] * 20 + [1] * 20)):
        pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "table.parquet")
        if turn:
            with pytest.raises(RunError, match="has a result with a different data"):
                smoke(run, f"own={tmp_path / 'table.parquet'}", out=tmp_path / "out")
        else:
            smoke(run, f"own={tmp_path / 'table.parquet'}", out=tmp_path / "out")


def test_paper_numbers_and_rules() -> None:
    assert len(TRANSFER_SETS) == 12
    assert set(TORCHVISION_SETS) < set(TRANSFER_SETS)
    by_class = {name for name, found in TRANSFER_SETS.items() if found.metric == "mean per class"}
    assert by_class == {"aircraft", "pets", "caltech101", "flowers"}
    linear = [75.3, 91.3, 78.4, 57.2, 62.2, 67.8, 60.6, 82.5, 75.5, 90.4, 94.2, 96.1]
    finetuned = [88.5, 97.8, 86.1, 76.3, 63.7, 91.6, 88.1, 85.4, 76.2, 91.7, 93.8, 97.0]
    assert [found.linear for found in TRANSFER_SETS.values()] == linear
    assert [found.finetuned for found in TRANSFER_SETS.values()] == finetuned
    labels = np.repeat(np.arange(37), 100)
    assert len(TRANSFER_SETS["pets"].validation_part(labels, 0)) == 740  # Table 10
    assert len(TRANSFER_SETS["cifar10"].validation_part(np.repeat(np.arange(10), 5000), 0)) == 5000
    assert len(TRANSFER_SETS["caltech101"].validation_part(np.repeat(np.arange(102), 30), 0)) == 510
    assert len(TRANSFER_SETS["sun397"].validation_part(np.repeat(np.arange(397), 50), 0)) == 3970


def test_transfer_writes_a_result_per_set_and_keeps_finished_ones(run: Path, root: Path, photos: Path) -> None:
    said = list[str]()
    rows = smoke(
        run, ["dtd", f"own={photos}", "food101"], place=DataSpec("", str(root)), listener=Listener(said.append)
    )
    assert [row.name for row in rows if row.failure] == ["food101"]
    assert "food101: food101 was not found" in said[-1]
    folder = run / "transfer" / "linear-fast-smoke"
    record = json.loads((folder / "dtd.json").read_text())
    assert (record["metric"], record["paper"]) == ("top-1", 75.5)
    assert (record["train"]["num_images"], record["test"]["num_images"]) == (16, 12)
    assert record["settings"]["validation_images"] == 8  # the published part
    assert json.loads((folder / "own.json").read_text())["paper"] is None
    header, lines = table(rows)
    assert header[3] == "BYOL Table 3"
    assert [line[0] for line in lines] == ["dtd", "own", "food101"]
    assert lines[0][2:] == [str(Score(**record["metrics"]["top-1"])), "75.5", "16", "12"]
    assert lines[2][2] == "failed"
    written = (folder / "dtd.json").stat().st_mtime_ns
    again = smoke(run, ["dtd"], place=DataSpec("", str(root)), listener=Listener(said.append))
    assert again[0].record == record
    assert "kept the result" in said[-1]
    assert (folder / "dtd.json").stat().st_mtime_ns == written


def test_voc_has_several_labels_per_image_and_its_own_metric(run: Path, root: Path) -> None:
    parts = open_torchvision(DataSpec("voc2007", str(root)))
    assert parts.validation is not None
    assert parts.label_sets is not None
    assert parts.validation.tolist() == list(range(12, 20))
    assert parts.train.class_names == ["aeroplane", "bird"]
    assert parts.label_sets[0][[0, 1, 2, 6, 7]].tolist() == [[1, 1], [-1, -1], [-1, 1], [1, 1], [0, 0]]
    (row,) = smoke(run, ["voc2007"], place=DataSpec("", str(root)))
    assert row.record is not None
    assert (row.record["metric"], row.record["paper"]) == ("11-point mAP", 82.5)
    assert 20 < row.record["metrics"]["11-point mAP"]["value"] <= 100
    assert row.record["settings"]["validation_images"] == 8
    with pytest.raises(ByolError, match="only with the protocol linear-fast"):
        smoke(run, ["voc2007"], protocol="finetune", place=DataSpec("", str(root)))


def test_transfer_result_of_other_settings_or_weights_is_not_kept(run: Path, photos: Path) -> None:
    smoke(run, [f"own={photos}"])
    with pytest.raises(ByolError, match="different seed"):
        smoke(run, [f"own={photos}"], seed=1)
    module = create_encoder("resnet10", width=0.125, image_size=16)
    description = EncoderDescription("resnet10", {"width": 0.125}, 64, 3, 16, (0.5,) * 3, (0.25,) * 3, False)
    save_encoder(run, module, description)
    with pytest.raises(ByolError, match="different weights"):
        smoke(run, [f"own={photos}"])
    (run / "transfer" / "linear-fast-smoke" / "own.json").write_text("{}")
    with pytest.raises(ByolError, match="not a result of byol transfer"):
        smoke(run, [f"own={photos}"])


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["voc2007=x"], "several labels per image"),
        (["sun397"], "Give its folder as sun397=PATH"),
        (["food10"], "Did you mean 'food101'"),
        (["a=x", "a=y"], "given twice"),
        (["dtd"], "Add --download, or name the folder"),
        (["=x"], "neither the name of a data set nor NAME=PATH"),
    ],
)
def test_transfer_bad_sets_get_one_sentence(run: Path, tmp_path: Path, sets: list[str], says: str) -> None:
    with pytest.raises(ByolError, match=says):
        smoke(run, sets, place=DataSpec("", str(tmp_path)))


def test_transfer_takes_train_and_test_parquet_of_a_folder(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    for part, count in {"train": 12, "test": 6}.items():
        rows = {"image": [encoded(picture(n)) for n in range(count)], "label": [n % 2 for n in range(count)]}
        pq.write_table(pa.table(rows), folder / f"{part}.parquet")
    (row,) = smoke(run, [f"own={folder}"])
    assert row.record is not None
    assert (row.record["train"]["num_images"], row.record["test"]["num_images"]) == (12, 6)


def test_torchvision_set_without_its_library_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(root: Path, download: bool, seed: int) -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setitem(TORCHVISION_SETS, "flowers", missing)
    with pytest.raises(DataError, match="flowers needs scipy, which is not installed"):
        open_torchvision(DataSpec("flowers", str(root)))


def test_transfer_from_the_command_line(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["transfer", str(run), "--sets", f"pets={photos}", "--budget", "smoke", "--protocol", "finetune"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    output = capsys.readouterr().out
    assert ended.value.code == 0
    assert "pets      mean per class" in output
    assert "91.7" in output  # the paper's
    assert "not the paper's protocol" in output
