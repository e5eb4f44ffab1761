"""Which folders and files of a data set are for training and which for testing."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.splits import find_parts, kind_of
from byol.errors import DataError
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture
from tests.unit.data.test_labels import as_class_labels, as_folder, as_strings, as_tar, named, rows

CLASSES = ["ant", "bee"]


def both(place: Path, train: str, test: str) -> Path:
    """Class folders in two parts, of 8 and 4 images."""
    as_folder(place / train, rows(CLASSES))
    as_folder(place / test, rows(CLASSES, 4, 2))
    return place


def sizes(path: Path, said: list[str] | None = None) -> tuple[int, int]:
    listener = Listener(say=[].append if said is None else said.append)
    train, test = labelled_splits(str(path), listener=listener)
    assert train.class_names == test.class_names == CLASSES
    return len(train), len(test)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRAIN", "seg_train", "trainset", "train2017", "TrainImages")
        ),
        *((name, "train") for name in ("ILSVRC2012_img_train", "trainval", "split=train", "train-00000-of-00002")),
        *((name, "test") for name in ("test", "Testing", "test_images", "TestSet", "my-test")),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "eval", "imagenet_val")),
        *((name, None) for name in ("cat", "trained", "contest", "valley", "device", "strain", "Trainer")),
    ],
)
def test_kind_of_a_name(name: str, kind: str | None) -> None:
    assert kind_of(name)[0] == kind


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("train", "eval"),
        ("train", "dev"),
        ("seg_train", "seg_test"),
        ("train_images", "val"),
        ("train2017", "val2017"),
        ("archive/data set/Training", "archive/data set/Testing"),
        ("data/train", "data/test"),
        ("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"),
        ("seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_folders_of_parts_by_the_names_people_use(tmp_path: Path, train: str, test: str) -> None:
    both(tmp_path / "d", train, test)
    (tmp_path / "d" / "README.md").write_text("A data set.")
    if "ILSVRC" in train:
        (tmp_path / "d" / "ILSVRC" / "Annotations").mkdir()
    said: list[str] = []
    assert find_parts(tmp_path / "d") is not None
    assert sizes(tmp_path / "d", said) == (8, 4)
    assert any(line.startswith("train part: ") and train.split("/")[-1] in line for line in said)
    assert any(line.startswith("test images: ") and test.split("/")[-1] in line for line in said)


@pytest.mark.parametrize("ending", ["parquet", "tar"])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["train-0-of-2", "train-1-of-2"], ["test-0-of-1"]),
        (["Train"], ["Validation"]),
        (["data/train-0"], ["data/dev-0"]),
        (["plain_text/train-0"], ["plain_text/test-0"]),
        (["pets-training-000", "pets-training-001"], ["pets-eval-000"]),
    ],
)
def test_files_of_parts_by_the_names_people_use(tmp_path: Path, ending: str, train: list[str], test: list[str]) -> None:
    write = as_tar if ending == "tar" else as_strings
    (tmp_path / "d" / ".git").mkdir(parents=True)
    (tmp_path / "d" / "README.md").write_text("---\nlicense: mit\n---\nA data set.")
    for name in [*train, *test]:
        file = tmp_path / "d" / f"{name}.{ending}"
        file.parent.mkdir(exist_ok=True)
        write(file, rows(CLASSES))
    assert sizes(tmp_path / "d") == (8 * len(train), 8)


def test_unlabelled_test_part_gives_way_to_the_validation_part_and_is_named(tmp_path: Path) -> None:
    both(tmp_path / "d", "train", "val")
    (tmp_path / "d" / "test").mkdir()
    for number, (image, _) in enumerate(rows(CLASSES)):
        (tmp_path / "d" / "test" / f"{number}.png").write_bytes(image)
    said: list[str] = []
    assert sizes(tmp_path / "d", said) == (8, 4)
    assert any(re.search(r"test images: .*val \(folder .*test has no labels", line) for line in said)
    assert open_source(tmp_path / "d", "test").description.endswith("test")  # as embed is told


def test_hidden_labels_of_a_test_part_give_way_to_the_validation_part(tmp_path: Path) -> None:
    table = {"image": [image for image, _ in rows(CLASSES)], "label": [-1] * 8}
    pq.write_table(pa.table(table), tmp_path / "test-0.parquet")
    for name in ("train-0", "validation-0"):
        as_class_labels(tmp_path / f"{name}.parquet", rows(CLASSES), CLASSES)
    said: list[str] = []
    assert sizes(tmp_path, said) == (8, 8)
    assert any("validation-0.parquet (labels are needed, found parquet" in line for line in said)


def test_part_without_labels_or_images_is_named(tmp_path: Path) -> None:
    both(tmp_path / "d", "train", "val")
    for image in (tmp_path / "d" / "val").glob("*/*.png"):
        image.unlink()
    (tmp_path / "d" / "test").mkdir()
    with pytest.raises(DataError, match=r"No part for testing can be used: .*d/test is empty.*d/val holds no image"):
        labelled_splits(str(tmp_path / "d"))


@pytest.mark.parametrize(
    "names", [("Train", "holdout"), ("trainA", "trainB", "testA", "testB"), ("train_a", "extra", "val_b")]
)
def test_folders_that_look_like_parts_and_are_none_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        as_folder(tmp_path / "d" / name, rows(CLASSES))
    for labelled in (False, True):
        with pytest.raises(DataError, match=r"not clear which images in .* are for training"):
            open_source(tmp_path / "d", labelled=labelled)


def test_folder_of_parts_beside_another_is_no_class(tmp_path: Path) -> None:
    for name in ("photos/train", "photos/test", "mask"):
        as_folder(tmp_path / "d" / name, rows(CLASSES))
    with pytest.raises(
        DataError, match=r"not clear which images in .*d/photos are for training .*: it holds test, train"
    ):
        open_source(tmp_path / "d")


def by_class(place: Path, *parts: str) -> Path:
    """Folders of 4 pictures each."""
    for number, name in enumerate(parts):
        (place / name).mkdir(parents=True)
        for image in range(4):
            (place / name / f"{image}.png").write_bytes(encoded(picture(10 * number + image, 16, 16)))
    return place


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "val_images")])
@pytest.mark.parametrize("around", ["", "archive/data set"])
def test_parts_in_every_class_folder_are_parts(tmp_path: Path, train: str, test: str, around: str) -> None:
    folder = by_class(
        tmp_path / "d" / around, *(f"{name}/{part}" for name in CLASSES for part in (train, test, "more"))
    )
    said: list[str] = []
    assert sizes(tmp_path / "d", said) == (8, 8)
    in_each = f"in each of 2 class folders of {folder}"
    assert f"train part: {train} {in_each} (other parts: {test} {in_each}; left out: more)" in said
    for source, part in zip(labelled_splits(str(tmp_path / "d")), (train, test), strict=True):
        assert {source.name(i).split("/")[-2] for i in range(8)} == {part}
        assert named(source) == [source.name(i).split("/")[-3] for i in range(8)]
    assert len(open_source(tmp_path / "d")) == len(open_source(tmp_path / "d", "test")) == 8


@pytest.mark.parametrize(
    "names",
    [
        ("ant/train", "ant/test", "bee"),
        ("ant/train", "ant/test", "bee/train"),
        ("ant/train", "ant/test", "bee/train", "bee/val"),
        ("ant/train", "ant/test", "bee/train", "bee/test", "bee"),
    ],
)
def test_parts_in_some_class_folders_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name / "0.png").write_bytes(encoded(picture(0, 16, 16)))
    with pytest.raises(DataError, match=r"not clear which images in .*d/ant are for .*Give all class folders the same"):
        open_source(tmp_path / "d")


@pytest.mark.parametrize(
    "names",
    [
        ["train-0.parquet", "holdout.parquet"],
        ["train-0.tar", "more.tar"],
        ["en/train-0.parquet", "en/test-0.parquet", "fr/train-0.parquet"],
    ],
)
def test_files_that_look_like_parts_and_are_none_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (as_tar if name.endswith("tar") else as_strings)(tmp_path / "d" / name, rows(CLASSES))
    with pytest.raises(DataError, match=r"not clear which images in .* are for training"):
        open_source(tmp_path / "d")


@pytest.mark.parametrize("names", [["bus", "car", "train"], ["test tube", "beaker"], ["dev board", "laptop", "tablet"]])
def test_classes_whose_names_tell_of_parts_are_classes(tmp_path: Path, names: list[str]) -> None:
    assert find_parts(as_folder(tmp_path / "d", rows(names))) is None
    assert open_source(tmp_path / "d").class_names == sorted(names)


@pytest.mark.parametrize("around", ["PetImages", "a/b/c", "train", "images"])
def test_folders_around_the_classes_are_looked_through_and_said(tmp_path: Path, around: str) -> None:
    as_folder(tmp_path / "d" / around, rows(CLASSES))
    said: list[str] = []
    source = open_source(tmp_path / "d", labelled=True, listener=Listener(say=said.append))
    assert source.class_names == CLASSES
    assert named(source) == [source.name(i).split("/")[-2] for i in range(8)]
    assert source.name(0).startswith(f"{around}/ant")  # as before: names are what a run's fingerprint holds
    assert any(line.endswith(f"the classes are the folders in {around}/") for line in said)
    assert (around == "train") == any(line.endswith("holds only a train part") for line in said)


def test_single_class_folder_is_no_folder_around_classes(tmp_path: Path) -> None:
    as_folder(tmp_path / "d", rows(["ant"]))
    with pytest.raises(DataError, match=r"has no labels \(of its folders only ant holds images\)"):
        labelled_splits(str(tmp_path / "d"))


CARD = """---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: small/*.parquet
- config_name: large
  default: true
  data_files:
  - split: train
    path: [large/a.parquet, "large/b*.parquet"]
  - split: validation
    path: large/c.parquet
---
# A data set
"""


@pytest.fixture
def carded(tmp_path: Path) -> Path:
    for name in ("small/x", "large/a", "large/b0", "large/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        as_strings(tmp_path / f"{name}.parquet", rows(CLASSES))
    return tmp_path


def test_card_of_a_data_set_names_its_parts(carded: Path) -> None:
    (carded / "README.md").write_text(CARD)
    assert sizes(carded) == (16, 8)


def test_card_of_several_configurations_without_a_default_is_refused(carded: Path) -> None:
    (carded / "README.md").write_text(CARD.replace("  default: true\n", ""))
    with pytest.raises(DataError, match=r"2 configurations \(small, large\), and none is the default"):
        open_source(carded)


def test_card_of_folders_of_images(tmp_path: Path) -> None:
    both(tmp_path, "pictures/a", "pictures/b")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: 'pictures/a/**'}\n"
    (tmp_path / "README.md").write_text(f"{card}  - {{split: test, path: pictures/b/**}}\n---\n")
    assert sizes(tmp_path) == (8, 4)


@pytest.mark.parametrize(
    "card", ["---\nconfigs: [1, {data_files: x}, {data_files: [{split: train}]}]\n---\n", "---\n{\n---\n", "---\n", "---\n- a\n---\n",
             "---\nconfigs:\n- data_files:\n  - {split: train, path: ../*.parquet}\n  - {split: test, path: /etc}\n---\n"]
)  # fmt: skip
def test_card_that_names_nothing_is_passed_over(tmp_path: Path, card: str) -> None:
    as_strings(tmp_path / "outside.parquet", rows(CLASSES))
    both(tmp_path / "d", "train", "test")
    (tmp_path / "d" / "README.md").write_text(card)
    assert sizes(tmp_path / "d") == (8, 4)


def saved(folder: Path, names: list[str]) -> None:
    """As `datasets.Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    table = pa.table({"image": [image for image, _ in rows(CLASSES)], "label": [name for _, name in rows(names)]})
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))


def test_saved_dict_of_data_sets(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "two" / split, CLASSES)
    assert sizes(tmp_path / "two") == (8, 8)
    saved(tmp_path / "one" / "train", CLASSES)
    (tmp_path / "one" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    said: list[str] = []
    assert len(open_source(tmp_path / "one", listener=Listener(say=said.append))) == 8
    assert said == [f"{tmp_path / 'one'} holds only a train part"]
    for split in ("here", "there"):
        saved(tmp_path / "odd" / split, CLASSES)
    (tmp_path / "odd" / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match=r"DatasetDict without parts .*odd/here, .*odd/there"):
        open_source(tmp_path / "odd")
