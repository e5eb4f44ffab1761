"""Grey of more than 8 bits: one rule for a data set, found from a sample, said and recorded."""

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data.check_data import check_data
from byol.data.dataset import DatasetImages
from byol.data.decode import MAX_SAMPLE_VALUE
from byol.data.image_folder import ImageFolder
from byol.data.number_format import (
    DeepRange,
    format_of,
    parse_range,
    percentiles,
    rule_of,
    share_format,
)
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError
from byol.runtime.number_format import NumberFormat, ValueRange
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
    highest = 255 if top == 255 else 65535
    stored = picture(3)[..., 0].astype(float) * factor
    assert np.array_equal(source.read(3, 1)[..., 0], (stored * (highest / top)).round())
    dark = picture(0)[..., 0] // 16  # which alone would look like fewer bits
    assert np.array_equal(source.read(0, 1)[..., 0], (dark.astype(float) * factor * (highest / top)).round())
    assert source.read(0, 3).dtype == (np.uint8 if top == 255 else np.uint16)
    found = profile(source, SkippedImages())
    assert f"(0 to {top}) in deeper files are scaled" in found.number_format
    assert found.number_format in found.notes
    assert found.number_format in "\n".join(check_data(source).lines())
    views = np.stack([source.read(i, 1) for i in range(COUNT)]) / highest
    assert found.mean[0] == pytest.approx(views.mean(), abs=1e-4)
    assert found.std[0] == pytest.approx(views.std(), abs=1e-4)


def test_pixels_are_the_same_however_12_bits_are_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (COUNT, 8, 8)).astype(np.uint16)
    values[0, 0, :2] = 4095, 1
    stored = {
        "12 in 16": values,
        "upper 12 of 16": values << 4,
        "scaled to 16": (values * (65535 / 4095)).round().astype(np.uint16),
        "floats": values / np.float64(4095),
        "signed": values.astype(np.int16),
    }
    pixels = {}
    for name, array in stored.items():
        np.save(tmp_path / "a.npy", array)
        source = open_source(str(tmp_path / "a.npy"))
        pixels[name] = np.stack([source.read(i, 1) for i in range(COUNT)])
    assert pixels["12 in 16"][0, 0, 0, 0] == 65535 and pixels["12 in 16"][0, 0, 1, 0] == 16
    assert all(np.array_equal(each, pixels["12 in 16"]) for each in pixels.values())


def test_signed_values_have_the_range_that_was_seen_and_are_clipped() -> None:
    found = format_of([DeepRange(False, -1000, 2000), DeepRange(False, -900, 3000), DeepRange(True, -1, 1)])
    assert (found.integers, found.floats) == (ValueRange((-1000,), (3000,), True), ValueRange((-1,), (1,), True))
    pixels = found.as_pixels(np.array([[-2000, -1000, 1000, 3000, 9000]], np.int16))
    assert pixels.tolist() == [[0, 0, 32768, 65535, 65535]]
    assert "integers (-1000 to 3000 and clipped)" in str(found)


def test_range_by_the_user_and_by_percentiles_per_band(tmp_path: Path) -> None:
    values = (
        np.random.default_rng(0).integers(0, 1000, (COUNT, 16, 16, 5)).astype(np.uint16)
        + np.arange(5, dtype=np.uint16) * 5000
    )
    np.save(tmp_path / "a.npy", values)
    given = open_source(DataSpec(str(tmp_path / "a.npy"), range="5000,6000"))
    assert given.read(2, 5)[0, 0, 0] == 0 and given.read(2, 5)[0, 0, 4] == 65535
    assert given.read(2, 5)[3, 4, 1] == round((int(values[2, 3, 4, 1]) - 5000) * 65.535)
    by_percentiles = open_source(DataSpec(str(tmp_path / "a.npy"), range="1%,99%"))
    by_percentiles.read(0, 5)
    rule = rule_of(by_percentiles)
    low, high = np.percentile(values.reshape(-1, 5), [1, 99], axis=0)
    assert rule is not None
    assert np.allclose(rule.integers.low, low, atol=3) and np.allclose(rule.integers.high, high, atol=3)
    assert NumberFormat.read(json.loads(json.dumps(asdict(rule)))) == rule


@pytest.mark.parametrize("text", ["0", "5,3", "1%,99", "a,b", "-1%,50%", "0,101%"])
def test_ranges_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"--data\.range is LOW,HIGH"):
        parse_range(text)


def test_range_of_images_of_8_bits_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match=r"--data\.range is for images of more than 8 bits"):
        profile(open_source(DataSpec(str(photos), range="0,100")), SkippedImages())


def test_a_constant_band_and_other_numbers_of_bands_are_said() -> None:
    with pytest.raises(DataError, match="Band 2 has the value 7"):
        percentiles([np.stack((np.arange(9.0).reshape(3, 3), np.full((3, 3), 7.0)), axis=2)], 1, 99)
    rule = NumberFormat(ValueRange((0.0, 0.0), (9.0, 9.0)))
    with pytest.raises(BrokenImageError, match="it has 3 bands, and the range is of 2"):
        rule.as_pixels(np.zeros((4, 4, 3), np.uint16))


def test_nan_gets_the_lowest_value_of_its_band(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((COUNT, 8, 8, 2)).astype(np.float32)
    values[3, 0, 0, 1] = np.nan
    values[4, :, :, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    source = open_source(str(tmp_path / "a.npy"))
    pixels = source.read(3, 2)
    assert pixels[0, 0, 1] == pixels[..., 1].min() == round(float(np.nanmin(values[3, ..., 1])) * 65535)
    with pytest.raises(BrokenImageError, match="one band has none"):
        source.read(4, 2)


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
    assert ImageFolder(tmp_path).read(0, 1)[0, 0, 0] == round(200 * 65535 / 4095)


def test_rule_holds_for_items_of_a_data_set() -> None:
    items = [Image.fromarray(picture(i)[..., 0].astype(np.uint16) * 16) for i in range(4)]
    pixels = DatasetImages(items).read(1, 1)[..., 0]
    assert np.array_equal(pixels, (picture(1)[..., 0] * (16 * 65535 / 4095)).round())


def test_values_outside_of_the_rule_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.data.number_format.SAMPLED_IMAGES", 2)
    source = ImageFolder(deep_folder(tmp_path / "d", 16))
    source.number_format()
    Image.fromarray(np.full((8, 8), 60000, np.uint16)).save(tmp_path / "d" / "19.png")
    with pytest.raises(BrokenImageError, match="60000, do not fit 0 to 4095"):
        source.read(19, 1)


def test_floats_and_integers_are_decided_apart() -> None:
    found = format_of(
        [DeepRange(True, 0, 0.3), DeepRange(True, 0, 200.0), *[DeepRange(False, 0, 900)] * 10, DeepRange(False, -5, 9)]
    )
    assert (found.integers.high, found.floats.high) == ((1023,), (255.0,))  # one odd image does not decide
    assert "10 bits" in str(found) and "0 to 255" in str(found)


def test_colour_of_16_bits_that_is_nearly_black_is_said(tmp_path: Path) -> None:
    """Of PPM Pillow reads the upper 8 bits alone."""
    for i in range(COUNT):
        values = (picture(i, 16, 16).astype(int) * 16).astype(">u2")
        (tmp_path / f"{i}.ppm").write_bytes(b"P6 16 16 65535\n" + values.tobytes())
    notes = profile(ImageFolder(tmp_path), SkippedImages()).notes
    assert any(
        "20 images have 16-bit colour, of which the upper 8 bits are read, with a maximum of only 15 of 255" in n
        for n in notes
    )


def test_test_images_follow_the_rule_of_the_training_images(tmp_path: Path) -> None:
    train, test = (ImageFolder(deep_folder(tmp_path / str(factor), factor)) for factor in (64, 4))
    share_format(train, test)
    assert test.number_format().integers.high == (16383,)
