"""Files that hold many images: parquet, Arrow, tar shards, here and behind http."""

import http.server
import io
import json
import pickle
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from byol.data.arrow import ArrowImages
from byol.data.labelled import labelled_splits
from byol.data.loader import BatchPlan, DecodingFeed
from byol.data.open import open_source
from byol.data.parquet import open_parquet
from byol.data.profile import profile
from byol.data.remote import fetch_shards
from byol.data.resident import load_resident
from byol.data.source import SkippedImages
from byol.data.subset import Subset
from byol.data.tar_shards import TarImages
from byol.errors import BrokenImageError, DataError
from byol.evaluate.features import extract
from byol.runtime.listener import Listener
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair
from tests.conftest import encoded, picture


def parquet(path: Path, **columns) -> Path:
    table = pa.table(columns).replace_schema_metadata({"class_names": json.dumps(["cat", "dog"])})
    pq.write_table(table, path, row_group_size=3)
    return path


def test_parquet_struct_and_bytes_columns_agree(tmp_path: Path) -> None:
    files = [encoded(picture(i)) for i in range(7)]
    structs = [{"bytes": f, "path": f"{i}.png"} for i, f in enumerate(files)]
    a = open_parquet(parquet(tmp_path / "a.parquet", image=structs, label=[0, 1] * 3 + [0]))
    b = open_parquet(parquet(tmp_path / "b.parquet", picture=files))
    assert (len(a), len(b), a.class_names, b.labels) == (7, 7, ["cat", "dog"], None)
    assert a.name(3) == "3.png"
    assert all(np.array_equal(a.read(i, 3), b.read(i, 3)) for i in range(7))


@pytest.mark.parametrize("limit", [10**9, 0])
def test_parquet_partitions_are_labels(tmp_path: Path, limit: int) -> None:
    for number, name in enumerate(["dog", "big%20cat"]):
        folder = tmp_path / "set" / "split=train" / f"label={name}"
        folder.mkdir(parents=True)
        parquet(folder / "0.parquet", image=[encoded(picture(number))] * 2)
    source = open_parquet(tmp_path / "set", limit, tmp_path / "cache")
    assert source.class_names == ["big cat", "dog"]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(source.read(0, 3), picture(1))


def test_parquet_of_paths_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded(picture(4)))
    source = open_parquet(
        parquet(tmp_path / "list.parquet", image_path=["images/a.png", "images/b.png"], caption=["", ""])
    )
    assert source.name(1) == "images/b.png"
    assert np.array_equal(source.read(0, 3), picture(4))
    with pytest.raises(BrokenImageError, match="No such file"):
        source.read(1, 3)


def test_parquet_path_outside_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(picture(1)))
    (tmp_path / "set").mkdir()
    source = open_parquet(parquet(tmp_path / "set" / "a.parquet", image=[{"bytes": None, "path": "../secret.png"}]))
    with pytest.raises(BrokenImageError, match="leads out of the folder"):
        source.read(0, 3)


def test_broken_images_of_one_name_are_counted_one_by_one(tmp_path: Path) -> None:
    """Whatever reads them, whole or a part; and of two data sets each its own."""
    files = [b"torn" if i % 9 == 4 else encoded(picture(i, 32, 32)) for i in range(20)]
    rows = [{"bytes": file, "path": "same.png"} for file in files]
    train, test = (open_parquet(parquet(tmp_path / f"{part}.parquet", image=rows)) for part in ("train", "test"))
    skipped = SkippedImages()
    profile(train, skipped)
    assert len(skipped) == 2
    for source in (
        train,
        Subset(train, np.arange(10, 20), "half"),
        Subset(Subset(train, np.arange(3, 20), ""), np.arange(5), ""),
    ):
        extract(lambda images: images.flatten(1).float(), source, 3, torch.device("cpu"), skipped=skipped)
        load_resident(source, 3, skipped)
    views = Views(pair(T, T_PRIME, 8), 20, seed=1)
    list(DecodingFeed(train, 3, BatchPlan(20, 20), 0, 0, skipped).batches(0, 1, views.crop))
    assert [name for name, _ in skipped.reasons] == ["same.png"] * len(skipped) == ["same.png"] * 2
    load_resident(test, 3, skipped)
    assert len(skipped) == 4


def test_parquet_without_images_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image column.*weight"):
        open_parquet(parquet(tmp_path / "a.parquet", weight=[1.0]))


def test_parquet_damaged_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_parquet(tmp_path / "a.parquet")


def test_parquet_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    files = [encoded(picture(i)) for i in range(7)]
    path = parquet(tmp_path / "a.parquet", image=files, label=[0, 1] * 3 + [0])
    mapped = open_parquet(path, limit_bytes=0, cache=tmp_path / "cache")
    assert isinstance(mapped, ArrowImages)
    copied = pickle.loads(pickle.dumps(mapped))  # as a spawned worker gets it
    assert len(pickle.dumps(mapped)) < 1000
    plain = open_parquet(path)
    for source in (mapped, copied):
        assert (source.labels == plain.labels).all()
        assert source.class_names == ["cat", "dog"]
        assert all(np.array_equal(source.read(i, 3), plain.read(i, 3)) for i in range(7))
    parquet(path, image=files[:4], label=[0, 1, 0, 1])  # changed: made again
    assert len(open_parquet(path, limit_bytes=0, cache=tmp_path / "cache")) == 4
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2


def test_saved_dataset_is_read(tmp_path: Path) -> None:
    rows = [{"bytes": encoded(picture(i)), "path": None} for i in range(5)]
    table = pa.table({"image": rows, "label": [0, 1, 0, 1, 1]})
    for name, part in (("data-00000-of-00002.arrow", table[:3]), ("data-00001-of-00002.arrow", table[3:])):
        with pa.ipc.new_stream(str(tmp_path / name), table.schema) as writer:
            writer.write_table(part)
    names = [{"filename": f"data-0000{i}-of-00002.arrow"} for i in range(2)]
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": names}))
    source = open_source(str(tmp_path))
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1, 1]
    assert all(np.array_equal(source.read(i, 3), picture(i)) for i in range(5))
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../away.arrow"}]}))
    with pytest.raises(DataError, match="names files that are not in the folder"):
        open_source(str(tmp_path))


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_tar_shards_are_read_with_their_labels(tmp_path: Path) -> None:
    for part in range(2):
        members = {}
        for i in range(3):
            members[f"{part}{i}.png"] = encoded(picture(3 * part + i))
            members[f"{part}{i}.cls"] = str(i).encode()
            members[f"{part}{i}.json"] = b"{}"
        shard(tmp_path / f"set-{part}.tar", members)
    source = open_source(str(tmp_path))
    assert len(source) == 6
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.name(4) == "set-1.tar/11.png"
    assert all(np.array_equal(source.read(i, 3), picture(i)) for i in range(6))
    named = open_source(
        str(shard(tmp_path / "named.tar", {"a.png": b"x", "a.cls": b"dog", "b.png": b"y", "b.cls": b"cat"}))
    )
    assert named.class_names == ["cat", "dog"]
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0]
    with pytest.raises(BrokenImageError):
        named.read(0, 3)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *arguments) -> None:
            asked.append(self.path)

        def end_headers(self) -> None:
            if self.path == "/short.tar":
                self._headers_buffer = [line for line in self._headers_buffer if b"Content-Length" not in line]
                self.send_header("Content-Length", "99999")
            super().end_headers()

    asked: list[str] = []
    (tmp_path / "served").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_shards_behind_http_are_fetched_once(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    for part in range(8, 11):
        shard(folder / f"set-{part:03d}.tar", {f"{part}.png": encoded(picture(part))})
    said: list[str] = []
    files = fetch_shards(f"{address}/set-{{008..010}}.tar", tmp_path / "cache", Listener(said.append))
    assert len(said) == 4
    source = TarImages(files, "tar")
    assert [source.names[i] for i in range(3)] == ["8.png", "9.png", "10.png"]
    assert np.array_equal(source.read(2, 3), picture(10))
    for file in folder.glob("*.tar"):
        file.unlink()
    assert fetch_shards(f"{address}/set-{{008..010}}.tar", tmp_path / "cache") == files


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.tar", "none.tar cannot be fetched .HTTP Error 404"),
        ("short.tar", "10240 of 99999 bytes arrived"),
        ("a-{3..x}.tar", "not a range of shards"),
        ("a-{0..99}{0..9999}.tar", "more than"),
    ],
)
def test_shards_that_cannot_be_had_are_one_sentence(
    served: tuple[Path, str], tmp_path: Path, name: str, says: str
) -> None:
    shard(served[0] / "short.tar", {"a.png": encoded(picture(1))})
    with pytest.raises(DataError, match=says):
        fetch_shards(f"{served[1]}/{name}", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.part"))
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/a.tar cannot be fetched"):
        open_source("http://127.0.0.1:9/a.tar")


def test_tar_that_ends_too_early_is_no_smaller_set(tmp_path: Path) -> None:
    members = {f"{i}.png": encoded(picture(i)) for i in range(4)}
    content = bytearray(shard(tmp_path / "a.tar", members).read_bytes())
    assert len(TarImages(tmp_path / "a.tar")) == 4
    (tmp_path / "twice.tar").write_bytes(content + content)  # as by cat
    (tmp_path / "padded.tar").write_bytes(content + b"leavings" * 64)
    assert len(TarImages(tmp_path / "padded.tar")) == 4
    place = TarImages(tmp_path / "a.tar").places[2, 1]
    content[place - 400 : place - 300] = b"\xff" * 100  # in the third header
    (tmp_path / "rotten.tar").write_bytes(content)
    for name in ("twice", "rotten"):
        with pytest.raises(
            DataError, match=rf"{name}.tar cannot be read as an uncompressed tar \(it is damaged, or several"
        ):
            TarImages(tmp_path / f"{name}.tar")


def test_tar_parts_of_a_sample_are_no_images_of_their_own(tmp_path: Path) -> None:
    image = encoded(picture(1))
    members = {
        "1.png": image,
        "1.seg.png": image,
        "1.cls": b"3",
        "2.png": image,
        "2.cls": b"5",
        "photo.2020.png": image,
    }
    source = TarImages(shard(tmp_path / "a.tar", members))
    assert source.names == ["1.png", "2.png", "photo.2020.png"]
    del members["photo.2020.png"]
    source = TarImages(shard(tmp_path / "b.tar", members))
    assert source.labels is not None
    assert (source.labels.tolist(), source.class_names) == ([0, 1], ["3", "5"])


def test_parquet_by_any_ending_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    parquet(tmp_path / "set" / "A.PARQUET", image=[encoded(picture(1))] * 2)
    assert len(open_source(str(tmp_path / "set"))) == 2
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "there").symlink_to(tmp_path / "set")
    with pytest.raises(DataError, match="no parquet file that can be reached"):
        open_source(str(tmp_path / "linked"))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b" + bytes(600)])
def test_tar_damaged_or_packed_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as an uncompressed tar|holds no image"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([0, None, 1, 1], "1 rows of its column 'label' are empty: fill them"),
        ([-1, 1, -1, 1], "2 rows of its column 'label' are not whole numbers of 0 or more"),
        ([0.5, 1.0, 2.0, np.nan], "2 rows of its column 'label' are not whole numbers of 0 or more"),
        ([[0], [1], [1], [0]], r"its column 'label' holds list<"),
    ],
)
def test_table_with_labels_that_are_none_is_read_without(tmp_path: Path, label: list, says: str) -> None:
    parquet(tmp_path / "a.parquet", image=[encoded(picture(i)) for i in range(4)], label=label)
    source = open_parquet(tmp_path / "a.parquet")
    assert (source.labels, source.class_names) == (None, None)
    assert re.search(rf"a\.parquet without labels \({says}.*\)$", source.description)
    with pytest.raises(DataError, match=says):
        labelled_splits(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("limit", [10**9, 0])
@pytest.mark.parametrize(
    ("label", "names"),
    [
        (pa.array([True, False, True, True]), ["cat", "dog"]),
        (pa.array([1.0, 0.0, 1.0, 1.0]), ["cat", "dog"]),
        (pa.array(["b", "a", "b", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([1, 0, 1, 1], pa.uint8()).dictionary_encode(), ["cat", "dog"]),
    ],
)
def test_table_labels_of_other_types_are_cast(tmp_path: Path, limit: int, label: pa.Array, names: list[str]) -> None:
    parquet(tmp_path / "a.parquet", image=[encoded(picture(i)) for i in range(4)], label=label)
    source = open_parquet(tmp_path / "a.parquet", limit, tmp_path / "cache")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 1]
    assert source.class_names == names


def test_table_mapped_is_pickled_with_the_same_description(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", image=[encoded(picture(1))] * 2, label=[0, None])
    source = open_parquet(tmp_path / "a.parquet", 0, tmp_path / "cache")
    assert "without labels" in source.description
    assert pickle.loads(pickle.dumps(source)).description == source.description


def test_hidden_files_of_macos_are_no_images_and_no_tables(tmp_path: Path) -> None:
    members = {"a.png": encoded(picture(1)), "a.cls": b"0", "./x/._a.png": b"junk", "./x/._a.cls": b"junk"}
    shard(tmp_path / "shards.tar", members)
    (tmp_path / "._shards.tar").write_bytes(b"junk")
    source = open_source(str(tmp_path))
    assert isinstance(source, TarImages)
    assert source.names == ["a.png"]
    assert source.labels is not None
    (tmp_path / "set" / ".git").mkdir(parents=True)
    parquet(tmp_path / "set" / "a.parquet", image=[encoded(picture(1))])
    for junk in ("._a.parquet", "._a.tar", ".git/a.parquet"):
        (tmp_path / "set" / junk).write_bytes(b"junk")
    assert len(open_source(tmp_path / "set")) == 1
