"""Grey of more than 8 bits: one rule for a data set, found from a sample, said and recorded."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data.check_data import check_data
from byol.data.dataset import DatasetImages
from byol.data.decode import MAX_SAMPLE_VALUE
from byol.data.image_folder import ImageFolder
from byol.data.number_format import DeepRange, format_of, share_format
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.errors import BrokenImageError
from tests.conftest import picture

COUNT = 20


def deep_folder(folder: Path, factor: int, ending: str = "png") -> Path:
    """Grey pictures whose values are multiples of `factor`, the first one dark."""
    folder.mkdir()
    for i in range(COUNT):
        pixels = picture(i)[..., 0].astype(np.uint16) // (16 if i == 0 else 1)
        Image.fromarray(pixels * factor).save(folder / f"{i:02d}.{ending}")
    return folder


@pytest.mark.parametrize(("factor", "top"), [(1, 255), (4, 1023), (16, 4095), (64, 16383), (257, 65535)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_bits_of_a_data_set_are_found_and_said(tmp_path: Path, factor: int, top: int, ending: str) -> None:
    source = ImageFolder(deep_folder(tmp_path / "d", factor, ending))
    stored = picture(3)[..., 0].astype(float) * factor
    assert np.array_equal(source.read(3, 1)[..., 0], (stored / (top / 255)).round())
    dark = picture(0)[..., 0] // 16  # which alone would look like fewer bits
    assert np.array_equal(source.read(0, 1)[..., 0], (dark.astype(float) * factor / (top / 255)).round())
    found = profile(source, SkippedImages())
    assert f"(0 to {top}) in deeper files are scaled" in found.number_format
    assert found.number_format in found.notes
    assert found.number_format in "\n".join(check_data(source).lines())


def test_clear_bytes_need_no_rule(photos: Path) -> None:
    found = profile(ImageFolder(photos), SkippedImages())
    assert (found.number_format, found.notes) == ("", [])


def test_rule_travels_to_other_processes(tmp_path: Path) -> None:
    source = ImageFolder(deep_folder(tmp_path / "d", 16))
    source.max_pixels = 10**6
    source.read(0, 1)
    copied = pickle.loads(pickle.dumps(source))
    assert (copied.known_format, copied.max_pixels) == (source.known_format, 10**6)


def test_tag_of_the_largest_value_counts(tmp_path: Path) -> None:
    for i in range(3):
        image = Image.fromarray(np.full((8, 8), 200, np.uint16))
        image.save(tmp_path / f"{i}.tif", tiffinfo={MAX_SAMPLE_VALUE: 4095})
    assert ImageFolder(tmp_path).read(0, 1)[0, 0, 0] == round(200 * 255 / 4095)


def test_rule_holds_for_items_of_a_data_set() -> None:
    items = [Image.fromarray(picture(i)[..., 0].astype(np.uint16) * 16) for i in range(4)]
    pixels = DatasetImages(items).read(1, 1)[..., 0]
    assert np.array_equal(pixels, (picture(1)[..., 0] * (16 * 255 / 4095)).round())


def test_values_outside_of_the_rule_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.data.number_format.SAMPLED_IMAGES", 2)
    source = ImageFolder(deep_folder(tmp_path / "d", 16))
    source.number_format()
    Image.fromarray(np.full((8, 8), 60000, np.uint16)).save(tmp_path / "d" / "19.png")
    with pytest.raises(BrokenImageError, match="60000, do not fit 0 to 4095"):
        source.read(19, 1)


def test_floats_and_integers_are_decided_apart() -> None:
    found = format_of(
        [DeepRange(True, 0, 0.3), DeepRange(True, 0, 200.0), DeepRange(False, 0, 900), DeepRange(False, -5, 9)]
    )
    assert (found.integers, found.floats) == (1023, 255.0)
    assert "10 bits" in str(found) and "0 to 255" in str(found)


def test_colour_of_16_bits_that_is_nearly_black_is_said(tmp_path: Path) -> None:
    """Pillow reads the upper 8 bits alone."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for i in range(COUNT):
        rows = (picture(i, 16, 16).astype(int) * 16).astype(">u2").tobytes()
        lines = b"".join(b"\0" + rows[start : start + 96] for start in range(0, len(rows), 96))
        header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
        (tmp_path / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    notes = profile(ImageFolder(tmp_path), SkippedImages()).notes
    assert any(
        "20 images have 16-bit colour, of which the upper 8 bits are read, with a maximum of only 15 of 255" in n
        for n in notes
    )


def test_test_images_follow_the_rule_of_the_training_images(tmp_path: Path) -> None:
    train, test = (ImageFolder(deep_folder(tmp_path / str(factor), factor)) for factor in (64, 4))
    share_format(train, test)
    assert test.number_format().integers == 16383
