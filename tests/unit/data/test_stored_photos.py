"""Photos that are shrunk once: pixels as by the direct rule, whatever happens to the store."""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from byol.data import photo_store, prepare_photos
from byol.data.arrays import ArrayImages
from byol.data.decode import EncodedImages
from byol.data.image_folder import ImageFolder
from byol.data.photo_store import StoredPhotos, is_stored, shrunk
from byol.data.prepare_photos import is_worth_storing, shrink_photos
from byol.data.resident import fits_memory, load_resident
from byol.data.source import ImageSource, SkippedImages, fingerprint
from byol.data.spec import DataSpec
from byol.data.subset import Subset
from byol.errors import BrokenImageError, DataError
from byol.runtime.listener import Listener
from byol.runtime.number_format import NumberFormat, ValueRange
from tests.conftest import encoded, picture

SIDE = 32


@pytest.fixture(autouse=True)
def _stores_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_photos, "FEWEST_PIXELS", 0)
    monkeypatch.setattr(prepare_photos, "SPARED_BYTES", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight JPEG photos of 90 x 120 and 120 x 90, two classes, one of them smaller than SIDE."""
    for i in range(8):
        path = tmp_path / "photos" / ("cat" if i < 4 else "dog") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20, 30) if i == 7 else (90, 120) if i % 2 else (120, 90)
        path.write_bytes(encoded(picture(i, *size), "JPEG"))
    return tmp_path / "photos"


def prepared(folder: Path, place: Path, channels: int = 3, **options: Any) -> StoredPhotos:
    limit = options.pop("limit", None)
    options = {"makes": True, **options}
    spec = DataSpec(str(folder), cache=str(place), cache_limit=limit)
    photos = shrink_photos(ImageFolder(folder), channels, SIDE, spec, **options)
    assert isinstance(photos, StoredPhotos)
    return photos


def same_pixels(photos: ImageSource, others: ImageSource) -> bool:
    return all(np.array_equal(photos.read(i, 3), others.read(i, 3)) for i in range(len(photos)))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of all images that are decoded."""
    indices: list[int] = []
    read = EncodedImages.read

    def counted(source: EncodedImages, index: int, channels: int, short_side: int = 0) -> np.ndarray:
        indices.append(index)
        return read(source, index, channels, short_side)

    monkeypatch.setattr(EncodedImages, "read", counted)
    return indices


def test_pixels_are_those_of_the_smallest_decoding_shrunk_by_pillow(folder: Path, tmp_path: Path) -> None:
    photos = prepared(folder, tmp_path / "cache")
    assert is_stored(photos)
    for i, name in enumerate(photos.name(i) for i in range(8)):
        opened = Image.open(folder / name)
        opened.draft(None, (SIDE, SIDE))  # pyright: ignore[reportArgumentType]
        if i < 7:
            assert min(opened.size) == 45  # half of 90
            size = (43, SIDE) if opened.width > opened.height else (SIDE, 43)
            opened = opened.resize(size, Image.Resampling.BICUBIC)
        assert np.array_equal(photos.read(i, 3), np.asarray(opened))
    assert photos.read(7, 3).shape == (20, 30, 3)  # smaller than SIDE: as it is


def test_shrinking_keeps_the_aspect_and_does_not_alias() -> None:
    stripes = np.zeros((300, 600, 1), np.uint8)
    stripes[:, ::2] = 255
    small = shrunk(stripes, 50)
    assert small.shape == (50, 100, 1) and np.ptp(small[:, 1:-1]) <= 1
    assert abs(float(small.mean()) - 127.5) < 1
    assert shrunk(small, 50) is small


def test_upright_grey_and_deep_photos_keep_their_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_photos, "MEMORY_LIMIT_BYTES", 0)
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0, 90, 120)).save(folder / "0.jpg", exif=exif)
    deep = np.linspace(0, 4095, 90 * 120).reshape(90, 120).astype(np.uint16)
    Image.fromarray(deep).save(folder / "1.png")
    (folder / "2.jpg").write_bytes(encoded(picture(2, 90, 120)[..., 0], "JPEG"))
    photos, source = prepared(folder, tmp_path / "cache", channels=1), ImageFolder(folder)
    assert is_stored(photos) and photos.read(0, 1).shape == (43, SIDE, 1)  # turned upright
    assert photos.read(1, 1).dtype == np.uint16 and photos.read(1, 1).max() > 64_000  # 12 bits
    for i in range(3):
        assert np.array_equal(photos.read(i, 1), shrunk(source.read(i, 1, SIDE), SIDE))
        assert photos.read(i, 3).shape[2] == 3  # another number of channels is decoded
    source.known_format = NumberFormat(ValueRange((0.0,), (65535.0,)), kinds=(False,))
    again = shrink_photos(source, 1, SIDE, DataSpec("", cache=str(tmp_path / "cache")))
    assert not is_stored(again)  # by another rule


def test_names_labels_and_fingerprint_are_those_of_the_source(folder: Path, tmp_path: Path) -> None:
    source, photos = ImageFolder(folder), prepared(folder, tmp_path / "cache")
    assert fingerprint(photos) == fingerprint(source)
    assert [photos.name(i) for i in range(8)] == [source.name(i) for i in range(8)]
    assert photos.labels is not None and photos.labels.tolist() == [0] * 4 + [1] * 4
    assert photos.class_names == source.class_names and photos.channels(0) == 3


def test_stored_photos_are_not_decoded_again_by_any_part_or_copy(
    folder: Path, tmp_path: Path, decoded: list[int]
) -> None:
    first = prepared(folder, tmp_path / "cache")
    assert sorted(decoded) == list(range(8))
    again = prepared(folder, tmp_path / "cache")
    copied = pickle.loads(pickle.dumps(again))
    spec = DataSpec("", cache=str(tmp_path / "cache"))
    part = shrink_photos(Subset(ImageFolder(folder), np.array([5, 2]), "part"), 3, SIDE, spec)
    assert same_pixels(first, again) and same_pixels(first, copied) and is_stored(Subset(part, np.array([1]), ""))
    assert np.array_equal(part.read(1, 3), first.read(2, 3))
    assert len(decoded) == 8


def test_changed_photo_alone_is_decoded_again(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    before = prepared(folder, tmp_path / "cache").read(2, 3)
    (folder / "cat" / "2.jpg").write_bytes(encoded(picture(77, 90, 120), "JPEG"))
    decoded.clear()
    after = prepared(folder, tmp_path / "cache").read(2, 3)
    assert decoded == [2] and not np.array_equal(before, after)
    for i in range(6):  # most of the store is of no image any more: it is made again
        (folder / "cat" / "2.jpg").write_bytes(encoded(picture(i, 300, 120 + i), "JPEG"))
        prepared(folder, tmp_path / "cache")
    (store,) = (tmp_path / "cache").iterdir()
    live = prepared(folder, tmp_path / "cache").places
    assert sum(path.stat().st_size for path in store.glob("pixels-*")) <= 2 * 3 * int((live[:, 1] * live[:, 2]).sum())


def test_lost_or_damaged_store_gives_the_same_pixels(folder: Path, tmp_path: Path) -> None:
    direct = prepared(folder, tmp_path, limit=0)
    assert not is_stored(direct) and not any(path.name != "photos" for path in tmp_path.iterdir())
    mapped = prepared(folder, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert same_pixels(direct, mapped)
    assert same_pixels(direct, pickle.loads(pickle.dumps(mapped)))  # a worker that finds no file decodes
    assert same_pixels(direct, prepared(folder, tmp_path / "cache"))
    (pixels,) = (tmp_path / "cache").glob("*/pixels-*")
    pixels.write_bytes(pixels.read_bytes()[:100])
    assert same_pixels(direct, prepared(folder, tmp_path / "cache"))
    (index,) = (tmp_path / "cache").glob("*/index.jsonl")
    index.write_bytes(b'["ab", {}]\nnonsense\n[]\n' + index.read_bytes()[:200])
    assert same_pixels(direct, prepared(folder, tmp_path / "cache"))


def test_interrupted_preparation_continues(
    folder: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_photos, "FIRST_BLOCK", 2)
    monkeypatch.setattr(prepare_photos, "BLOCK", 2)
    work: list[tuple[str, int, int]] = []

    def interrupted(what: str, done: int, total: int) -> None:
        work.append((what, done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(folder, tmp_path / "cache", listener=Listener(work=interrupted))
    assert [row[1:] for row in work] == [(2, 8), (4, 8)] and work[0][0].endswith("left")
    (pixels,), (index,) = ((tmp_path / "cache").glob(f"*/{name}") for name in ("pixels-*", "index.jsonl"))
    pixels.write_bytes(pixels.read_bytes() + b"half")  # as a process leaves it that is killed while it writes
    index.write_bytes(index.read_bytes() + b'["12345')
    decoded.clear()
    photos = prepared(folder, tmp_path / "cache")
    assert sorted(decoded) == [4, 5, 6, 7] and is_stored(photos)
    assert same_pixels(photos, prepared(folder, tmp_path, limit=0))


def test_killed_preparation_continues(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from byol.data import prepare_photos as p; p.FEWEST_PIXELS = 0\n"
        "from byol.data.image_folder import ImageFolder; from byol.data.spec import DataSpec; from byol.runtime.listener import Listener\n"
        "p.FIRST_BLOCK = p.BLOCK = 3\n"
        "die = lambda what, done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 6 else None\n"
        f"p.shrink_photos(ImageFolder(Path(sys.argv[1])), 3, {SIDE}, DataSpec('', cache=sys.argv[2]), makes=True, listener=Listener(work=die))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "cache")]).returncode == -9
    left = shrink_photos(ImageFolder(folder), 3, SIDE, DataSpec("", cache=str(tmp_path / "cache")))
    assert isinstance(left, StoredPhotos) and int((left.places[:, 0] >= 0).sum()) == 6 and not is_stored(left)
    photos = prepared(folder, tmp_path / "cache")
    assert is_stored(photos) and same_pixels(photos, prepared(folder, tmp_path, limit=0))


def _prepare_slowly(folder: Path, place: Path, start: Any) -> None:
    prepare_photos.FEWEST_PIXELS = 0
    read = EncodedImages.read

    def slow(source: EncodedImages, index: int, channels: int, short_side: int = 0) -> np.ndarray:
        time.sleep(0.02)
        return read(source, index, channels, short_side)

    EncodedImages.read = slow  # type: ignore[method-assign]
    start.wait()
    prepared(folder, place)


def test_two_processes_make_one_store(folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=_prepare_slowly, args=(folder, tmp_path / "cache", start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    (index,) = (tmp_path / "cache").glob("*/index.jsonl")
    keys = [row[0] for row in map(json.loads, index.read_text().splitlines()) if len(row) == 5]
    assert len(keys) == len(set(keys)) == 8
    assert same_pixels(prepared(folder, tmp_path / "cache"), prepared(folder, tmp_path, limit=0))


def test_waiting_for_another_process_is_said(folder: Path, tmp_path: Path) -> None:
    import fcntl

    prepared(folder, tmp_path / "cache")
    (store,) = (tmp_path / "cache").iterdir()
    (folder / "cat" / "0.jpg").write_bytes(encoded(picture(9, 90, 120), "JPEG"))
    lines: list[str] = []
    with (store / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)

        def say(line: str) -> None:
            lines.append(line)
            fcntl.flock(stream, fcntl.LOCK_UN)

        prepared(folder, tmp_path / "cache", listener=Listener(say))
    assert "another process is storing these photos" in lines[0]


def test_broken_photos_are_listed_once_and_not_tried_again(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    (folder / "cat" / "1.jpg").write_bytes(b"no picture")
    (folder / "cat" / "3.jpg").unlink()
    (folder / "cat" / "3.jpg").mkdir()  # an image that cannot be read now
    shutil.rmtree(folder / "cat" / "3.jpg")
    for _ in range(2):
        skipped = SkippedImages()
        photos = prepared(folder, tmp_path / "cache", skipped=skipped)
        assert skipped.reasons == [("cat/1.jpg", "no image of a known kind")]
        decoded.clear()
        with pytest.raises(BrokenImageError, match="no image of a known kind"):
            photos.read(1, 3)
        assert not decoded and is_stored(photos)
    (folder / "cat" / "1.jpg").write_bytes(encoded(picture(1, 90, 120), "JPEG"))
    assert prepared(folder, tmp_path / "cache").read(1, 3).shape == (SIDE, 43, 3)


def test_file_that_cannot_be_read_now_is_tried_again(folder: Path, tmp_path: Path) -> None:
    source, spec = ImageFolder(folder), DataSpec("", cache=str(tmp_path / "cache"))
    content = (folder / "dog" / "5.jpg").read_bytes()
    (folder / "dog" / "5.jpg").unlink()
    photos = shrink_photos(source, 3, SIDE, spec, makes=True)
    assert not is_stored(photos)
    with pytest.raises(BrokenImageError, match="No such file"):
        photos.read(5, 3)
    (folder / "dog" / "5.jpg").write_bytes(content)
    assert photos.read(5, 3).shape == (SIDE, 43, 3)


@pytest.mark.parametrize(
    ("limit", "free", "sentence"),
    [
        (0.00001, 1e12, r"8 photos .* take 0 MB, more than --cache-limit allows \(0 MB\): .*in every pass"),
        (
            None,
            1e4,
            r"8 photos .* take 0 MB, more than --cache-limit allows .*in every pass",
        ),  # a third of the free disk
        (1.0, 1e4, r"8 photos .* take 0 MB, and the disk of .* has 0 MB free: .*in every pass"),
    ],
)
def test_too_little_room_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float | None, free: float, sentence: str
) -> None:
    import re

    monkeypatch.setattr(prepare_photos.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    lines: list[str] = []
    photos = prepared(folder, tmp_path / "cache", limit=limit, listener=Listener(lines.append))
    assert len(lines) == 1 and re.fullmatch(sentence + ", which is slower", lines[0])
    assert not is_stored(photos) and photos.read(0, 3).shape == (43, SIDE, 3)


def test_full_disk_in_the_middle_is_one_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_photos, "FIRST_BLOCK", 2)
    monkeypatch.setattr(prepare_photos, "BLOCK", 2)
    written, write = [], photo_store._write_at

    def full(path: Path, start: int, content: bytes) -> None:
        written.append(path)
        write(path, start, content if len(written) < 5 else content[:100])
        if len(written) >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(photo_store, "_write_at", full)
    lines: list[str] = []
    photos = prepared(folder, tmp_path / "cache", listener=Listener(lines.append))
    assert (
        len(lines) == 2 and "cannot be written (No space left on device): photos are decoded in every pass" in lines[1]
    )
    assert int((photos.places[:, 0] >= 0).sum()) == 4
    direct = prepared(folder, tmp_path, limit=0)
    assert same_pixels(photos, direct)
    monkeypatch.setattr(photo_store, "_write_at", write)
    assert is_stored(prepared(folder, tmp_path / "cache")) and same_pixels(prepared(folder, tmp_path / "cache"), direct)


def test_place_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    photos = prepared(folder, tmp_path / "file", listener=Listener(lines.append))
    assert len(lines) == 1 and "cannot be written or locked: photos are decoded in every pass" in lines[0]
    assert photos.read(0, 3).shape == (43, SIDE, 3)


def test_photos_unused_for_longest_make_room(folder: Path, tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("one", "two")]
    for other in others:
        shutil.copytree(folder, other)
        prepared(other, tmp_path / "cache")
    (tmp_path / "cache" / ("f" * 32)).mkdir()  # no store
    (tmp_path / "cache" / "mine.txt").write_text("stays")
    stores = {
        path: (path / "index.jsonl").stat().st_mtime
        for path in (tmp_path / "cache").glob("*")
        if any(path.glob("index*"))
    }
    oldest = prepared(others[0], tmp_path / "cache").places  # used again, so that `two` is the one
    assert len(oldest)
    size = sum(path.stat().st_size for store in stores for path in store.iterdir())
    lines: list[str] = []
    prepared(folder, tmp_path / "cache", limit=1.2 * size / 1e9, listener=Listener(lines.append))
    assert lines[0] == f"removing the stored photos of folder {others[1]}" and len(lines) == 2
    assert len(list((tmp_path / "cache").glob("*/index.jsonl"))) == 2
    assert (tmp_path / "cache" / "mine.txt").exists()
    assert is_stored(prepared(others[0], tmp_path / "cache", makes=False))


def test_preparation_that_takes_too_long_is_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_photos, "FIRST_BLOCK", 2)
    for i, path in enumerate(sorted(folder.glob("*/*.jpg"))):
        path.write_bytes(encoded(picture(3, 90 * (1 + i % 2), 120 * (1 + i % 2)), "JPEG"))
    lines: list[str] = []
    photos = prepared(folder, tmp_path / "cache", listener=Listener(lines.append), most_seconds=1e-9)
    assert "would take 0 s, over a third of the time limit: photos are decoded in every pass" in lines[1]
    assert not is_stored(photos) and photos.read(0, 3).shape == (SIDE, 43, 3)
    images = [photos.read(i, 3) for i in range(8)]
    assert load_resident(Subset(photos, np.arange(8), ""), 3, SkippedImages()) is None
    assert not fits_memory(photos, images) and fits_memory(prepared(folder, tmp_path, limit=0), images)


def test_stored_photos_of_one_shape_are_kept_in_memory(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    for i, path in enumerate(sorted(folder.glob("*/*.jpg"))):
        path.write_bytes(
            encoded(picture(i, 90 * (1 + i % 2), 120 * (1 + i % 2)), "JPEG")
        )  # of many sizes, and of one when shrunk
    photos = prepared(folder, tmp_path / "cache")
    decoded.clear()
    loaded = load_resident(photos, 3, SkippedImages())
    assert loaded is not None and loaded[0].shape == (8, 3, SIDE, 43) and not decoded


def test_store_is_made_only_where_it_saves_work(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = ArrayImages(np.zeros((4, 64, 64, 3), np.uint8))
    spec = DataSpec("", cache=str(tmp_path / "cache"))
    assert shrink_photos(array, 3, SIDE, spec, makes=True) is array  # nothing to decode
    source = ImageFolder(folder)
    assert shrink_photos(source, 3, 0, spec, makes=True) is source
    assert not is_stored(prepared(folder, tmp_path / "cache", makes=False))
    photos = prepared(folder, tmp_path / "cache", makes=False)
    assert is_worth_storing(photos, spec) and not is_worth_storing(photos, DataSpec("", cache_limit=0))
    assert not is_worth_storing(source, spec)
    monkeypatch.setattr(prepare_photos, "FEWEST_PIXELS", 1e6)
    assert not is_stored(prepared(folder, tmp_path / "cache"))
    monkeypatch.setattr(prepare_photos, "FEWEST_PIXELS", 0)
    for path in folder.glob("*/*.jpg"):
        path.write_bytes(encoded(picture(3, 90, 120), "JPEG"))
    assert not is_stored(prepared(folder, tmp_path / "cache"))  # kept in memory
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(prepare_photos, "MEMORY_LIMIT_BYTES", 8 * 90 * 120 * 3 - 1)
    assert is_stored(prepared(folder, tmp_path / "cache"))


def test_negative_limit_is_refused() -> None:
    with pytest.raises(DataError, match=r"--cache-limit must be 0 or more, in GB; found -1"):
        DataSpec("", cache_limit=-1)
