"""A class is a name: the same order and the same classes whatever holds the images."""

import json
import os
import tarfile
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol.commands.embed import embed
from byol.commands.evaluate import evaluate
from byol.data.classes import Labels, labels_of, ordered, union
from byol.data.labelled import labelled_splits
from byol.data.open import open_source
from byol.data.source import ImageSource
from byol.errors import DataError
from byol.evaluate.protocols import semi
from byol.evaluate.protocols.options import KnnOptions, ProtocolOptions, SemiOptions
from byol.runtime.listener import Listener
from tests.conftest import encoded


def of_class(place: int, number: int) -> bytes:
    """A picture that tells its class by its brightness and its bright column."""
    pixels = np.full((8, 8, 3), 15 + 20 * place, np.uint8)
    pixels[number % 8], pixels[:, place % 8] = 0, 255
    return encoded(pixels)


Rows = list[tuple[bytes, str]]


def rows(classes: list[str], start: int = 0, count: int = 4) -> Rows:
    return [(of_class(place, start + n), name) for place, name in enumerate(classes) for n in range(count)]


def as_folder(path: Path, rows: Rows) -> Path:
    for number, (image, name) in enumerate(rows):
        (path / name).mkdir(parents=True, exist_ok=True)
        (path / name / f"{number:03d}.png").write_bytes(image)
    return path


def as_strings(path: Path, rows: Rows) -> Path:
    pq.write_table(pa.table({"image": [image for image, _ in rows], "label": [name for _, name in rows]}), path)
    return path


def as_numbers(path: Path, rows: Rows) -> Path:
    pq.write_table(pa.table({"image": [image for image, _ in rows], "label": [int(name) for _, name in rows]}), path)
    return path


def as_class_labels(path: Path, rows: Rows, names: list[str]) -> Path:
    """As the Hugging Face library writes ClassLabel: numbers, and their names in the metadata."""
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": [image for image, _ in rows], "label": [names.index(name) for _, name in rows]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    return path


def as_tar(path: Path, rows: Rows) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, (image, name) in enumerate(rows):
            for ending, content in (("png", image), ("cls", name.encode())):
                member = tarfile.TarInfo(f"{number:04d}.{ending}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
    return path


def named(source: ImageSource) -> list[str]:
    """The class name of each image."""
    assert source.labels is not None and source.class_names is not None
    return [source.class_names[code] for code in source.labels]


def test_order_is_that_of_names_and_of_numbers() -> None:
    assert ordered(["b", "a", "B", "10", "9"]) == ("10", "9", "B", "a", "b")
    assert ordered(["10", "9", "1"]) == ("1", "9", "10")
    assert union([("01", "2"), ("1", "10")]) == ("01", "2", "10")
    assert union([("01", "1"), ("1", "2")]) == ("01", "1", "2")
    assert union([("01", "cat"), ("1",)]) == ("01", "1", "cat")
    assert Labels.of(np.array([0, 1, 2, 1]), ["b ", "a", "b"]).codes.tolist() == [1, 0, 1, 0]


def test_folders_around_a_slash_are_numbered_by_their_names(tmp_path: Path) -> None:
    classes = ["dog", "cat-wild", "dog (old)", "cat"]
    as_folder(tmp_path / "d", rows(classes))
    embed("pixels", str(tmp_path / "d"), tmp_path / "v.parquet")
    embed("pixels", str(tmp_path / "d"), tmp_path / "v.npz")
    table, arrays = pq.read_table(tmp_path / "v.parquet"), np.load(tmp_path / "v.npz")
    folders = [name.split("/")[0] for name in table["name"].to_pylist()]
    assert table["label_name"].to_pylist() == folders == arrays["label_name"].tolist()
    assert table["label"].to_pylist() == [sorted(classes).index(name) for name in folders] == arrays["label"].tolist()


def test_folders_of_numbers_are_numbered_as_numbers(tmp_path: Path) -> None:
    source = open_source(as_folder(tmp_path / "d", rows(["10", "9", "1"])))
    assert source.class_names == ["1", "9", "10"]
    assert named(source) == [source.name(i).split("/")[0] for i in range(len(source))]


def test_class_folder_without_a_readable_image_keeps_its_place_and_is_named(tmp_path: Path) -> None:
    as_folder(tmp_path / "d", rows(["ant", "cow"]))
    for other in ("bee", "annotations", ".hidden", "__MACOSX"):
        (tmp_path / "d" / other).mkdir()
    (tmp_path / "d" / "bee" / "1.heic").write_bytes(b"x")
    said: list[str] = []
    source = open_source(tmp_path / "d", labelled=True, listener=Listener(say=said.append))
    assert source.class_names == ["ant", "bee", "cow"]
    assert set(named(source)) == {"ant", "cow"}
    assert any("class folders without readable images are bee" in line and "annotations" not in line for line in said)
    train, test = labelled_splits(str(tmp_path / "d"))
    assert train.class_names == test.class_names == ["ant", "cow"]


ONE = ProtocolOptions(knn=KnnOptions(k=1, temperature=0.1))
TWELVE = [str(number) for number in range(12)]
"""As text, 10 comes before 2."""


@pytest.mark.parametrize("train", [as_numbers, as_strings, as_tar, as_folder])
@pytest.mark.parametrize("test", [as_numbers, as_strings, as_tar, as_folder])
def test_numbers_and_strings_of_numbers_are_joined_as_numbers(tmp_path: Path, train, test) -> None:
    ending = {as_tar: ".tar", as_folder: ""}
    first = train(tmp_path / f"train{ending.get(train, '.parquet')}", rows(TWELVE))
    second = test(tmp_path / f"test{ending.get(test, '.parquet')}", rows(TWELVE[::-1], count=1))
    parts = labelled_splits(str(first), str(second))
    assert parts[0].class_names == parts[1].class_names == TWELVE
    for part in parts:
        assert sorted(named(part)) == sorted([name for name in TWELVE for _ in range(len(part) // 12)])
    assert named(parts[1])[0] == ("0" if test is as_folder else "11")


def test_numbers_with_leading_zeros_are_the_same_numbers(tmp_path: Path) -> None:
    train = as_folder(tmp_path / "d", rows([f"{number:05d}" for number in range(11)]))
    test = as_numbers(tmp_path / "t.parquet", rows(["10", "3"]))
    assert set(named(labelled_splits(str(train), str(test))[1])) == {"00010", "00003"}


@pytest.mark.parametrize("names", [["dog", "cat", "eel"], ["cat", "dog", "eel"]])
def test_folders_and_class_labels_are_joined_by_name(tmp_path: Path, names: list[str]) -> None:
    train = as_folder(tmp_path / "d", rows(["cat", "dog", "eel"], count=8))
    test = as_class_labels(tmp_path / "t.parquet", rows(["cat", "dog", "eel"], start=4, count=2), names)
    (result,) = evaluate("pixels", str(train), "knn", test_data=str(test), budget="paper", options=ONE, out=tmp_path)
    assert result.score.value == 100
    assert result.record["classes"] == ["cat", "dog", "eel"]


@pytest.mark.parametrize("limit", [10**9, 0])
def test_shards_whose_metadata_orders_the_names_differently_agree(tmp_path: Path, limit: int) -> None:
    from byol.data.parquet import open_parquet

    (tmp_path / "d").mkdir()
    as_class_labels(tmp_path / "d" / "0.parquet", rows(["cat", "dog"]), ["cat", "dog"])
    as_class_labels(tmp_path / "d" / "1.parquet", rows(["cat", "dog", "eel"]), ["eel", "dog", "cat"])
    source = open_parquet(tmp_path / "d", limit, tmp_path / "cache")
    assert source.class_names == ["cat", "dog", "eel"]
    assert named(source) == [name for _, name in rows(["cat", "dog"]) + rows(["cat", "dog", "eel"])]


def test_shard_without_the_names_of_the_others_is_no_set_of_labels(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    as_class_labels(tmp_path / "d" / "0.parquet", rows(["cat", "dog"]), ["cat", "dog"])
    as_numbers(tmp_path / "d" / "1.parquet", rows(["0", "1"]))
    with pytest.raises(DataError, match=r"a number without a name in .*1\.parquet, but a name in .*0\.parquet"):
        labelled_splits(str(tmp_path / "d"))


def test_labels_of_all_parts_have_one_numbering(tmp_path: Path) -> None:
    as_folder(tmp_path / "d" / "train", rows(["bee", "cow"]))
    as_folder(tmp_path / "d" / "test", rows(["ant", "cow"]))
    as_folder(tmp_path / "d" / "val", rows(["dog", "bee"]))
    for split in ("train", "test"):
        assert open_source(tmp_path / "d", split).class_names == ["ant", "bee", "cow", "dog"]
    as_tar(tmp_path / "train.tar", rows(["2", "10"]))
    as_tar(tmp_path / "test.tar", rows(["1", "10"]))
    source = open_source(tmp_path, "test")
    assert (source.class_names, set(named(source))) == (["1", "2", "10"], {"1", "10"})


def test_class_that_the_test_part_lacks_is_said_and_one_that_training_lacks_refused(tmp_path: Path) -> None:
    train = str(as_folder(tmp_path / "d", rows(["ant", "bee", "cow"])))
    said: list[str] = []
    fewer = as_strings(tmp_path / "fewer.parquet", rows(["cow", "ant"]))
    _, test = labelled_splits(train, str(fewer), listener=Listener(say=said.append))
    assert set(named(test)) == {"ant", "cow"}
    assert any(line.endswith("fewer.parquet has no image of 1 of the 3 classes: bee") for line in said)
    more = as_tar(tmp_path / "more.tar", rows(["cow", "dog"]))
    with pytest.raises(DataError, match=r"has not: dog\. .*of folder .*: ant, bee, cow; of tar .*: cow, dog\."):
        labelled_splits(train, str(more))


@pytest.mark.parametrize("first", [as_numbers, as_tar])
def test_numbers_and_words_are_refused_with_both_lists(tmp_path: Path, first) -> None:
    numbers = first(tmp_path / ("n.tar" if first is as_tar else "n.parquet"), rows(["0", "1"]))
    words = as_class_labels(tmp_path / "w.parquet", rows(["cat", "dog"]), ["cat", "dog"])
    for train, test in ((numbers, words), (words, numbers)):
        with pytest.raises(DataError, match="Classes are joined by name") as caught:
            labelled_splits(str(train), str(test))
        assert ": 0, 1" in str(caught.value) and ": cat, dog" in str(caught.value)


def test_spaces_and_accents_make_no_class_of_their_own(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    said: list[str] = []
    train = as_folder(tmp_path / "d", rows(["cat", "café"]))
    test = as_strings(tmp_path / "t.parquet", rows(["cat ", decomposed, "cat"]))
    parts = labelled_splits(str(train), str(test), listener=Listener(say=said.append))
    assert parts[1].class_names == ["café", "cat"]
    assert any("'cat' and 'cat ' are one class" in line for line in said)
    as_strings(tmp_path / "empty.parquet", rows(["cat", " ", "dog"]))
    with pytest.raises(DataError, match="4 rows of its column 'label' are empty"):
        labelled_splits(str(tmp_path / "empty.parquet"))


def test_numbers_that_are_not_the_places_are_said(tmp_path: Path) -> None:
    said: list[str] = []
    source = open_source(
        as_numbers(tmp_path / "t.parquet", rows(["7", "3"])), labelled=True, listener=Listener(say=said.append)
    )
    assert (source.class_names, named(source)[0]) == (["3", "7"], "7")
    assert any("not by the numbers of column 'label'" in line for line in said)
    as_numbers(tmp_path / "dense.parquet", rows(["0", "1"]))
    said.clear()
    open_source(tmp_path / "dense.parquet", labelled=True, listener=Listener(say=said.append))
    assert said == []


def test_stray_image_beside_the_class_folders_is_named(tmp_path: Path) -> None:
    as_folder(tmp_path / "d", rows(["ant", "bee"]))
    (tmp_path / "d" / "folder.jpg").write_bytes(of_class(0, 0))
    with pytest.raises(DataError, match=r"1 of its images are beside the class folders, such as folder\.jpg"):
        labelled_splits(str(tmp_path / "d"))


def test_labels_of_arrays_without_names_are_called_by_their_numbers() -> None:
    from byol.data.arrays import ArrayImages

    labels = labels_of(ArrayImages(np.zeros((3, 8, 8, 3), np.uint8), np.array([70, 5, 70])))
    assert labels is not None
    assert (labels.codes.tolist(), labels.names) == ([1, 0, 1], ("5", "70"))


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_list_of_labelled_images_by_its_coding(tmp_path: Path, coding: str, end: str) -> None:
    source = open_source(as_folder(tmp_path / "d", rows(["ant", "café"])))
    wanted = [source.name(index) for index in (0, 1, 5)]
    (tmp_path / "list.txt").write_bytes(end.join([*wanted, ""]).encode(coding))
    part = semi.labelled_part(source, SemiOptions(subset=str(tmp_path / "list.txt")), 0)
    assert part.indices.tolist() == [0, 1, 5]


@pytest.mark.skipif(os.name != "posix", reason="other systems take no such name")
def test_list_of_labelled_images_whose_names_are_no_utf8(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "d", rows(["ant", "bee"]))
    (folder / "ant" / "000.png").rename(folder / "ant" / os.fsdecode(b"caf\xe9 .png"))
    source = open_source(folder)
    (tmp_path / "list.txt").write_bytes(b"ant/caf\xe9 .png\nbee/005.png\n")
    part = semi.labelled_part(source, SemiOptions(subset=str(tmp_path / "list.txt")), 0)
    assert [os.fsencode(part.name(i)) for i in range(2)] == [b"ant/caf\xe9 .png", b"bee/005.png"]
    (tmp_path / "list.txt").write_bytes(b"ant/\xff.png\n")
    with pytest.raises(DataError, match="1 of the 1 names"):
        semi.labelled_part(source, SemiOptions(subset=str(tmp_path / "list.txt")), 0)
