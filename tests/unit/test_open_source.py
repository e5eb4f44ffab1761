"""What `--data` may name, and which part of it is read."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from byol.data.open import open_source
from byol.data.public import open_public
from byol.data.spec import DataSpec
from byol.data.splits import find_parts
from byol.errors import DataError
from byol.runtime.listener import Listener
from tests.conftest import encoded, picture
from tests.unit.test_containers import parquet, shard


def test_public_fashion_mnist_is_read_where_torchvision_puts_it(tmp_path: Path) -> None:
    import gzip
    import struct

    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        images, labels = np.arange(5 * 784, dtype=np.uint8).reshape(5, 28, 28), np.arange(5, dtype=np.uint8)
        for kind, code, array in (("images-idx3", 3, images), ("labels-idx1", 1, labels)):
            header = struct.pack(f">HBB{code}I", 0, 8, code, *array.shape)
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())
            (raw / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    source = open_public(DataSpec("fashion-mnist", str(tmp_path), False), "train")
    assert len(source) == 5
    assert source.read(4, 1).shape == (28, 28, 1)


def test_public_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--download"):
        open_public(DataSpec("cifar10", str(tmp_path), False), "train")


def test_open_source_unknown_name_says_the_nearest() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'cifar10'"):
        open_source("cifr10")


def test_open_source_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        open_source(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no image"):
        open_source(str(tmp_path))


def test_open_source_takes_the_split_that_is_asked_for(photos: Path) -> None:
    (photos / "cat").rename(photos / "train")
    (photos / "dog").rename(photos / "val")
    assert "train" in open_source(str(photos)).description
    assert "val" in open_source(str(photos), "test").description


def test_open_source_of_a_folder_of_images_leaves_other_files_out(photos: Path) -> None:
    parquet(photos / "vectors.parquet", name=["cat/00.jpg"])
    shard(photos / "cat" / "a.tar", {"a.png": encoded(picture(1))})
    said: list[str] = []
    source = open_source(photos, listener=Listener(said.append))
    assert len(source) == 40
    assert said == [f"{photos} holds images: its 1 .parquet and 1 .tar files are left out. To read one, name the file."]
    assert find_parts(photos) is None


def test_open_source_of_a_folder_of_images_looks_through_it_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(Path(path).name) or scandir(path))
    open_source(photos)
    assert seen.count("dog") == 1 and seen.count("cat") == 2  # the first class folder is listed to look for parts in it


@pytest.mark.parametrize("other", ["test", "val", "valid", "validation"])
def test_open_source_takes_folders_by_any_name_of_a_test_part(photos: Path, other: str) -> None:
    assert find_parts(photos) is None
    (photos / "cat").rename(photos / "train")
    (photos / "dog").rename(photos / other)
    assert find_parts(photos) is not None
    assert open_source(photos).description == f"folder {photos / 'train'}"
    assert open_source(photos, "test").description == f"folder {photos / other}"


@pytest.mark.parametrize(
    ("folder", "train", "test", "others"),
    [
        (".", ["train.parquet"], ["test.parquet"], ["valid.parquet", "trained.parquet"]),
        (".", ["train-0-of-2.parquet", "train-1-of-2.parquet"], ["validation-0-of-1.parquet"], ["a.tar"]),
        ("data", ["train-0-of-1.parquet"], ["test-0-of-1.parquet"], ["validation-0-of-1.parquet"]),
        (".", ["train-0.tar", "train-1.tar"], ["val-0.tar"], ["tested.tar"]),
    ],
)
def test_open_source_takes_files_by_split(
    tmp_path: Path, folder: str, train: list[str], test: list[str], others: list[str]
) -> None:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    for number, name in enumerate([*train, *test, *others]):
        image = encoded(picture(number))
        if name.endswith(".tar"):
            shard(place / name, {f"{number}.png": image})
        else:
            parquet(place / name, image=[image])
    (tmp_path / "readme.png").write_bytes(encoded(picture(9)))
    assert find_parts(tmp_path) is not None
    first, second = open_source(tmp_path), open_source(tmp_path, "test")
    assert [len(first), len(second)] == [len(train), 1]
    assert all(np.array_equal(first.read(i, 3), picture(i)) for i in range(len(train)))
    assert np.array_equal(second.read(0, 3), picture(len(train)))
    more = " and 1 more" if len(train) > 1 else ""
    assert first.description == f"{'tar' if train[0].endswith('.tar') else 'parquet'} {place / train[0]}{more}"


def test_open_source_of_one_part_is_no_split(tmp_path: Path) -> None:
    for number, name in enumerate(["train-0.parquet", "train-1.parquet"]):
        parquet(tmp_path / name, image=[encoded(picture(number))])
    assert find_parts(tmp_path) is None
    assert len(open_source(tmp_path, "test")) == 2


def test_open_source_takes_a_root_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(DataError, match=f"cifar10 was not found in {re.escape(str(tmp_path / 'sets'))} "):
        open_source(DataSpec("cifar10", "~/sets"))


@pytest.mark.parametrize("download", [False, True])  # what is there is not fetched
def test_public_imagenette_is_the_set_of_160_px(tmp_path: Path, download: bool) -> None:
    for part, name in (("train", "n01440764"), ("train", "n02102040"), ("val", "n01440764"), ("val", "n02102040")):
        folder = tmp_path / "imagenette2-160" / part / name
        folder.mkdir(parents=True)
        (folder / f"{part}.JPEG").write_bytes(encoded(picture(1), "JPEG"))
    source = open_public(DataSpec("imagenette", str(tmp_path), download), "test")
    assert source.name(1) == "imagenette2-160/val/n02102040/val.JPEG"
    assert source.class_names == ["tench", "English springer"]
