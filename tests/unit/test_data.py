"""Sources, decoding, order, feeds: what is read, in which order, and what happens to broken files."""

import http.server
import io
import json
import os
import pickle
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from byol import build
from byol.build import open_source
from byol.data import file_index, loader
from byol.data.arrays import ArrayImages
from byol.data.arrow import ArrowImages
from byol.data.dataset import DatasetImages
from byol.data.decode import decode
from byol.data.file_index import index_files
from byol.data.image_folder import ImageFolder
from byol.data.loader import BatchPlan, DecodingFeed, ResidentFeed
from byol.data.order import Order
from byol.data.parquet import open_parquet
from byol.data.public import open_public
from byol.data.remote import fetch_shards
from byol.data.resident import load_resident
from byol.data.sample import open_sample
from byol.data.source import SkippedImages
from byol.data.subset import held_out, per_class
from byol.data.tar_shards import TarImages
from byol.errors import BrokenImageError, DataError, OutOfMemoryError
from byol.runtime import hardware
from byol.views.policy import T_PRIME, Kernels, T
from byol.views.two_views import TwoViews
from tests.conftest import encoded, picture


def test_sample_holds_what_it_says() -> None:
    train, test = open_sample("train"), open_sample("test")
    assert train.pixels.shape == (12000, 28, 28, 1)
    assert np.bincount(train.labels).tolist() == [1200] * 10
    assert np.bincount(test.labels).tolist() == [200] * 10
    trained = {image.tobytes() for image in train.pixels}
    # Fashion-MNIST itself repeats a few pictures across its two parts
    assert sum(image.tobytes() in trained for image in test.pixels) <= 2


def test_order_every_epoch_is_another_permutation() -> None:
    order = Order(10, seed=3)
    first, second = order.indices(0, 10), order.indices(10, 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()
    assert order.indices(7, 6).tolist() == [*first[7:], *second[:3]]
    assert Order(10, seed=3).indices(15, 5).tolist() == second[5:].tolist()


def test_folder_nested_is_sorted_and_labelled(photos: Path) -> None:
    source = ImageFolder(photos)
    assert len(source) == 40
    assert list(source.paths) == sorted(source.paths)
    assert source.class_names == ["cat", "dog"]
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [20, 20]
    assert source.read(0, 3).shape == (40, 48, 3)


def test_folder_class_names_that_sort_around_the_slash(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "a/b/2.png", "a-b/1.png", "a0/1.png", "a/z.png", "b/1.png")
    source = ImageFolder(tmp_path, None)
    assert source.class_names == ["a-b", "a", "a0", "b"]
    assert source.labels is not None
    assert [source.class_names[n] for n in source.labels] == [source.name(i).split("/")[0] for i in range(6)]


def test_folder_with_loose_images_has_no_labels(photos: Path) -> None:
    (photos / "loose.png").write_bytes(encoded(picture(1)))
    assert ImageFolder(photos).labels is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_decode_every_format_gives_the_picture(kind: str) -> None:
    found = decode(encoded(picture(5), kind), 3)
    assert np.abs(found.astype(int) - picture(5)).mean() < 8


def test_decode_modes_follow_the_stated_rule() -> None:
    def stored(image: Image.Image, **options) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "PNG", **options)
        return stream.getvalue()

    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(decode(stored(Image.fromarray(grey)), 1)[..., 0], grey)
    assert np.array_equal(decode(stored(Image.fromarray(grey)), 3)[..., 2], grey)
    deep = (grey.astype(np.uint16) * 257).astype(np.uint16)
    assert np.array_equal(decode(stored(Image.fromarray(deep)), 1)[..., 0], grey)
    clear = np.dstack([picture(2), np.zeros((40, 48), np.uint8)])
    assert np.array_equal(decode(stored(Image.fromarray(clear)), 3), picture(2))
    palette = Image.fromarray(picture(2)).convert("P")
    assert np.array_equal(decode(stored(palette), 3), np.asarray(palette.convert("RGB")))


def test_decode_exif_rotation_is_applied() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(1)).save(stream, "JPEG", exif=exif)
    assert decode(stream.getvalue(), 3).shape == (48, 40, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "no image of a known kind"),
        (encoded(picture(1), "JPEG")[:200], "(?i)truncated"),
        (encoded(picture(1), "PNG")[:500], "(?i)truncated"),
    ],
)
def test_decode_broken_bytes_say_why(content: bytes, reason: str) -> None:
    with pytest.raises(BrokenImageError, match=reason):
        decode(content, 3)


def test_decode_bad_exif_is_a_broken_image_and_not_the_end() -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(1)).save(stream, "PNG", exif=b"Exif\0\0II*\0")
    with pytest.raises(BrokenImageError, match="requires a buffer"):
        decode(stream.getvalue(), 3)


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
    files = fetch_shards(f"{address}/set-{{008..010}}.tar", tmp_path / "cache", said.append)
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


def test_decode_at_reduced_scale_keeps_the_short_side() -> None:
    large = encoded(picture(1, 400, 480), "JPEG")
    assert decode(large, 3, short_side=100).shape == (100, 120, 3)
    assert decode(large, 1, short_side=101).shape == (200, 240, 1)
    assert decode(encoded(picture(1, 400, 480)), 3, short_side=100).shape == (400, 480, 3)
    full = decode(large, 3).reshape(100, 4, 120, 4, 3).mean(axis=(1, 3))
    assert np.abs(full - decode(large, 3, short_side=100)).mean() < 2


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b" + bytes(600)])
def test_tar_damaged_or_packed_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as an uncompressed tar|holds no image"):
        open_source(str(tmp_path / "a.tar"))


def test_array_file_is_mapped_and_a_foreign_one_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([picture(i) for i in range(4)]))
    source = open_source(str(tmp_path / "a.npy"))
    assert np.array_equal(source.read(2, 3), picture(2))
    np.save(tmp_path / "b.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY")
    for name in ("b.npy", "c.npy"):
        with pytest.raises(DataError, match="cannot be read as an array"):
            open_source(str(tmp_path / name))


def test_dataset_of_torch_is_a_source() -> None:
    class Mixed(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int):
            pixels = picture(index)
            return [
                (Image.fromarray(pixels), 1), pixels, torch.from_numpy(pixels).permute(2, 0, 1),
                (pixels[..., 0], 0), pixels.astype(np.float32),
            ][index]  # fmt: skip

    source = DatasetImages(Mixed())
    assert all(np.array_equal(source.read(i, 3), picture(i)) for i in range(3))
    assert source.read(3, 3).shape == (40, 48, 3)
    with pytest.raises(BrokenImageError, match="float32"):
        source.read(4, 3)
    with pytest.raises(BrokenImageError, match="IndexError"):
        source.read(5, 3)


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_file_index_is_in_the_order_of_sorted_paths(tmp_path: Path) -> None:
    names = ["b/x.png", "a.jpg", "a/2.JPG", "a/10.jpg", "a-b/c/d.webp", "a/é.png", ".hidden/x.png", "a/.x.png", "n.txt"]
    tree(tmp_path, *names)
    found = index_files(tmp_path, None)
    assert [found.paths[i] for i in range(len(found.paths))] == sorted(n for n in names[:6])
    assert found.paths[-1] == "b/x.png"
    with pytest.raises(IndexError):
        found.paths[6]


def test_images_of_other_kinds_are_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "CACHED_FROM", 2)
    tree(
        tmp_path, "set/a/1.png", "set/b/2.png", "set/3.HEIC", "set/a/4.heic", "set/b/5.dng", "set/n.txt", "set/.x.heic"
    )
    for _ in range(2):  # the second time from the cache
        source = ImageFolder(tmp_path / "set", tmp_path / "cache")
        assert len(source) == 2
        assert source.description.endswith("set without its 1 .dng file and 2 .heic files (convert them to JPEG)")
    tree(tmp_path, "phone/1.heic")
    with pytest.raises(
        DataError, match=r"phone holds 1 \.heic file, which byol does not read\. Convert them to JPEG\."
    ):
        ImageFolder(tmp_path / "phone")


def test_file_index_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    tree(tmp_path, "set/a/1.png", "away/2.png")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "away")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nothing")
    found = index_files(tmp_path / "set", None)
    assert [found.paths[i] for i in range(len(found.paths))] == ["a/1.png", "b/2.png", "gone.png"]
    source = ImageFolder(tmp_path / "set")
    with pytest.raises(BrokenImageError, match="No such file"):
        source.read(2, 3)


def test_file_index_is_cached_until_a_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "CACHED_FROM", 2)
    tree(tmp_path, "set/a/1.png", "set/b/2.png")
    first = index_files(tmp_path / "set", tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()

    def fail(*arguments):
        raise AssertionError("walked again")

    with monkeypatch.context() as patch:
        patch.setattr(file_index, "_walk", fail)
        again = index_files(tmp_path / "set", tmp_path / "cache")
    assert [again.paths[i] for i in range(2)] == [first.paths[i] for i in range(2)] == ["a/1.png", "b/2.png"]
    tree(tmp_path, "set/b/3.png")
    assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 3
    for content in (b"", b"PK\x03\x04 damaged", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 3


def test_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = ImageFolder(tmp_path)
    assert len(source) == 1
    assert source.unreadable == {"b/": "Permission denied"}


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
    source = open_public("fashion-mnist", "train", tmp_path, download=False)
    assert len(source) == 5
    assert source.read(4, 1).shape == (28, 28, 1)


def test_public_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--download"):
        open_public("cifar10", "train", tmp_path, download=False)


def test_open_source_unknown_name_says_the_nearest() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'cifar10'"):
        build.open_source("cifr10")


def test_open_source_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        build.open_source(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no image"):
        build.open_source(str(tmp_path))


def test_open_source_takes_the_split_that_is_asked_for(photos: Path) -> None:
    (photos / "cat").rename(photos / "train")
    (photos / "dog").rename(photos / "val")
    assert "train" in build.open_source(str(photos)).description
    assert "val" in build.open_source(str(photos), "test").description


def test_resident_skips_broken_and_refuses_mixed_sizes(photos: Path) -> None:
    skipped = SkippedImages()
    assert load_resident(ImageFolder(photos), 3, skipped) is None
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    (photos / "cat" / "00.jpg").write_bytes(b"broken")
    loaded = load_resident(ImageFolder(photos), 3, skipped)
    assert loaded is not None
    assert loaded[0].shape == (19, 3, 40, 48)
    assert list(skipped.reasons) == ["cat/00.jpg"]


@pytest.mark.parametrize("kernels", ["native", "fused"])
def test_feeds_decoded_and_resident_give_the_same_views(photos: Path, kernels: Kernels) -> None:
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    source, plan = ImageFolder(photos), BatchPlan(8, 4)
    views = TwoViews(T, T_PRIME, 32, 8, seed=1, kernels=kernels)
    loaded = load_resident(source, 3, SkippedImages())
    assert loaded is not None
    resident = ResidentFeed(loaded[0], None, plan, seed=5)
    for workers in (0, 2):
        decoding = DecodingFeed(source, 3, views.crop, plan, 5, workers, SkippedImages())
        for a, b in zip(resident.batches(2, 5), decoding.batches(2, 5), strict=True):
            assert (a.step, a.first_row) == (b.step, b.first_row)
            first, second = views(a.images, a.step, a.first_row), views.finish(b.images, b.step, b.first_row)
            assert torch.allclose(first[0], second[0], atol=1e-5)
            assert torch.allclose(first[1], second[1], atol=1e-5)


def test_feed_batch_stays_while_the_next_one_is_used(photos: Path) -> None:
    views = TwoViews(T, T_PRIME, 16, 8, seed=1)
    feed = DecodingFeed(ImageFolder(photos), 3, views.crop, BatchPlan(8, 8), 0, 2, SkippedImages())
    before, copy = None, torch.empty(0)
    for batch in feed.batches(0, 12):
        time.sleep(0.02)  # workers are ahead as far as they may
        assert before is None or torch.equal(before.images, copy)
        before, copy = batch, batch.images.clone()


def test_feed_decodes_smaller_where_asked(photos: Path) -> None:
    sides: list[int] = []
    seen: list[set[int]] = []

    def crop(image: np.ndarray, step: int, row: int) -> torch.Tensor:
        sides.append(min(image.shape[:2]))
        return torch.zeros(2, 3, 8, 8)

    for short_side in (0, 20):
        feed = DecodingFeed(ImageFolder(photos), 3, crop, BatchPlan(8, 8), 0, 0, SkippedImages(), short_side)
        list(feed.batches(0, 5))
        seen.append(set(sides))
        sides.clear()
    assert seen == [{40, 48}, {20, 24}]


def test_feed_that_needs_more_shared_memory_than_there_is_says_so(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = TwoViews(T, T_PRIME, 32, 8, seed=0)
    feed = DecodingFeed(ImageFolder(photos), 3, views.crop, BatchPlan(8, 8), 0, 2, SkippedImages())
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(OutOfMemoryError, match=r"2 worker processes need 1 MB of shared memory, and .* has 1\. Lower"):
        next(feed.batches(0, 1))  # 6 places of 8 images, two views of 3 x 32 x 32 float32: 1,179,648 bytes


def test_ranks_of_a_machine_share_its_cores_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "num_cores", lambda: 16)
    assert (hardware.choose_workers(-1), hardware.choose_workers(0)) == (8, 0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert (hardware.choose_workers(-1), hardware.choose_workers(5)) == (3, 5)


def test_feed_whose_worker_dies_says_so(photos: Path) -> None:
    crop = TwoViews(T, T_PRIME, 32, 8, seed=0).crop
    feed = DecodingFeed(ImageFolder(photos), 3, partial(die, os.getpid(), crop), BatchPlan(8, 8), 0, 1, SkippedImages())
    with pytest.raises(OutOfMemoryError, match=r"A process that decodes images has died .*Lower|lower --workers"):
        list(feed.batches(0, 3))


def die(parent: int, crop: Callable[..., torch.Tensor], image: np.ndarray, step: int, row: int) -> torch.Tensor:
    if os.getpid() != parent:
        os.kill(os.getpid(), 9)
    return crop(image, step, row)


def test_feed_broken_image_is_replaced_and_noted(photos: Path) -> None:
    (photos / "cat" / "03.jpg").write_bytes(b"broken")
    skipped = SkippedImages()
    views = TwoViews(T, T_PRIME, 32, 40, seed=1)
    feed = DecodingFeed(ImageFolder(photos), 3, views.crop, BatchPlan(40, 40), 0, 0, skipped)
    (batch,) = feed.batches(0, 1)
    assert batch.images.shape == (40, 2, 3, 32, 32)
    assert list(skipped.reasons) == ["cat/03.jpg"]


def test_arrays_wrong_shape_or_type_is_refused() -> None:
    with pytest.raises(DataError, match="uint8"):
        ArrayImages(np.zeros((3, 4, 4), dtype=np.float32))  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="2 labels"):
        ArrayImages(np.zeros((3, 4, 4), dtype=np.uint8), np.zeros(2, dtype=np.int64))


def test_splits_are_balanced_and_disjoint() -> None:
    labels = np.repeat(np.arange(4), 25)
    kept, out = held_out(labels, 0.2, seed=0)
    assert np.bincount(labels[out]).tolist() == [5] * 4
    assert sorted([*kept, *out]) == list(range(100))
    assert np.bincount(labels[per_class(labels, 3, seed=1)]).tolist() == [3] * 4


def test_profile_too_few_images_says_how_many(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(i)))
    with pytest.raises(DataError, match="5 images; pretraining needs at least 16"):
        build.profile(ImageFolder(tmp_path), SkippedImages())
