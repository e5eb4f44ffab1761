"""Decoding, folders and their index: what becomes of files, whole, odd and broken."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data import file_index
from byol.data.dataset import DatasetImages
from byol.data.decode import decode, stored_kind
from byol.data.file_index import index_files
from byol.data.image_folder import ImageFolder, unread
from byol.errors import BrokenImageError, DataError
from tests.conftest import encoded, picture


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
    assert source.class_names == ["a", "a-b", "a0", "b"]
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
    assert np.array_equal(decode(stored(Image.fromarray(deep)), 1)[..., 0], deep)
    clear = np.dstack([picture(2), np.zeros((40, 48), np.uint8)])
    assert np.array_equal(decode(stored(Image.fromarray(clear)), 3), picture(2))
    palette = Image.fromarray(picture(2)).convert("P")
    assert np.array_equal(decode(stored(palette), 3), np.asarray(palette.convert("RGB")))


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}
"""Upright pixels of stored ones, by EXIF orientation."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_every_orientation_is_turned_upright_once(kind: str, orientation: int) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    tag = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
    Image.fromarray(picture(3)).save(stream, kind, lossless=True, quality=100, subsampling=0, **tag)
    opened, loaded = (Image.open(io.BytesIO(stream.getvalue())) for _ in range(2))
    loaded.load()
    expected = UPRIGHT[orientation](picture(3)).astype(int)
    dataset = DatasetImages([opened, loaded])
    for found in (decode(stream.getvalue(), 3), dataset.read(0, 3), dataset.read(1, 3)):
        assert found.shape == expected.shape and np.abs(found - expected).mean() < 3


OTHER_FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - picture(5))]}


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True, "icc_profile": b"x" * 500}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("BMP", "RGBA", {}),
        *((kind, "RGB", {"lossless": True, **OTHER_FRAMES}) for kind in ("PNG", "WEBP", "TIFF")),
    ],
)
def test_decode_odd_files_give_the_first_picture(kind: str, mode: str, options: dict) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(5)).convert(mode).save(stream, kind, quality=95, subsampling=0, **options)
    assert np.abs(decode(stream.getvalue(), 3).astype(int) - picture(5)).mean() < 3


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


def test_decode_bad_exif_costs_no_sound_image() -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(1)).save(stream, "PNG", exif=b"Exif\0\0II*\0")
    assert np.array_equal(decode(stream.getvalue(), 3), picture(1))
    with pytest.raises(BrokenImageError, match=r"(?i)truncated"):
        decode(stream.getvalue()[:500], 3)


def test_decode_starts_no_other_program() -> None:
    """Which Pillow would for EPS, whatever the file is called."""
    stream = io.BytesIO()
    Image.fromarray(picture(1)).save(stream, "EPS")
    with pytest.raises(BrokenImageError, match="no image of a known kind"):
        decode(stream.getvalue(), 3)


def test_decode_at_reduced_scale_keeps_the_short_side() -> None:
    large = encoded(picture(1, 400, 480), "JPEG")
    assert decode(large, 3, short_side=100).shape == (100, 120, 3)
    assert decode(large, 1, short_side=101).shape == (200, 240, 1)
    assert decode(encoded(picture(1, 400, 480)), 3, short_side=100).shape == (400, 480, 3)
    full = decode(large, 3).reshape(100, 4, 120, 4, 3).mean(axis=(1, 3))
    assert np.abs(full - decode(large, 3, short_side=100)).mean() < 2


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
        assert unread(index_files(tmp_path / "set", tmp_path / "cache")) == "1 .dng file and 2 .heic files"
    tree(tmp_path, "phone/1.heic")
    with pytest.raises(
        DataError, match=r"phone holds 1 \.heic file, which byol does not read\. Install pillow-heif for HEIC"
    ):
        ImageFolder(tmp_path / "phone")


def test_file_index_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    tree(tmp_path, "set/a/1.png", "away/2.png")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "away")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set" / "self")
    found = index_files(tmp_path / "set", None)
    assert [found.paths[i] for i in range(len(found.paths))] == ["a/1.png", "b/2.png", "gone.png"]
    assert found.unreadable == {"self": "Too many levels of symbolic links"}
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
        patch.setattr(file_index, "_Walk", fail)
        again = index_files(tmp_path / "set", tmp_path / "cache")
    assert [again.paths[i] for i in range(2)] == [first.paths[i] for i in range(2)] == ["a/1.png", "b/2.png"]
    tree(tmp_path, "set/b/3.png")
    assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 3
    for content in (b"", b"PK\x03\x04 damaged", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 3


def refuse_folder_b(patch: pytest.MonkeyPatch) -> None:
    """As where its permissions are others'."""
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    patch.setattr(os, "scandir", refuse)


def test_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a/1.png", "b/2.png")
    refuse_folder_b(monkeypatch)
    source = ImageFolder(tmp_path)
    assert len(source) == 1
    assert source.unreadable == {"b/": "Permission denied"}


def test_decode_channels_that_no_file_has_is_a_broken_image() -> None:
    with pytest.raises(BrokenImageError, match="3 channels where 4 were expected"):
        decode(encoded(picture(1)), 4)


def stored_tiff(values: list[float], kind: type) -> bytes:
    return encoded(np.array([values], dtype=kind), "TIFF")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 514, 65535], np.uint16, [0, 514, 65535]),
        ([0, 200, 255], np.uint16, [0, 200, 255]),  # dark, and not of 8 bits
        ([0, 514, 65535], np.int32, [0, 514, 65535]),
        ([0, 200, 255], np.int32, [0, 200, 255]),
        ([0, 0.4, 1], np.float32, [0, 26214, 65535]),
        ([0, 200.4, 255], np.float32, [0, 51503, 65535]),
    ],
)
def test_decode_deep_grey_by_its_kind(values: list[float], kind: type, expected: list[int]) -> None:
    assert decode(stored_tiff(values, kind), 1).ravel().tolist() == expected
    assert decode(stored_tiff(values, kind), 3)[0, :, 2].tolist() == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [([-1, 0.5], np.float32), ([0, 300], np.float32), ([np.nan, np.nan], np.float32), ([-1, 9], np.int32), ([0, 70000], np.int32)],
)  # fmt: skip
def test_decode_deep_grey_that_fits_no_rule_is_broken(values: list[float], kind: type) -> None:
    with pytest.raises(BrokenImageError, match=r"its values, .* do not fit 0 to|it has no data"):
        decode(stored_tiff(values, kind), 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decode_too_many_pixels_is_broken_and_touches_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setattr("byol.data.decode.warnings", None)  # filters are of the process, decoding of many threads
    for most in (600, 1000):  # Pillow's own limit is twice its number
        with pytest.raises(BrokenImageError, match="its 1,920 pixels are more than --max-megapixels"):
            decode(encoded(picture(1)), 3, max_pixels=most)
    assert stored_kind(io.BytesIO(encoded(picture(1)))) == (3, "RGB")
    assert decode(encoded(picture(1)), 3, max_pixels=2000).shape == (40, 48, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(encoded(picture(1)), 3).shape == (40, 48, 3)


def test_file_index_with_an_unreadable_folder_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "CACHED_FROM", 1)
    tree(tmp_path, "set/a/1.png", "set/b/2.png")
    with monkeypatch.context() as patch:
        refuse_folder_b(patch)
        assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 1
    assert len(index_files(tmp_path / "set", tmp_path / "cache").paths) == 2
