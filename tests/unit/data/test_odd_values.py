"""Files whose values or bands are not those of the others: a stated rule or one sentence for each."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from byol.data.check_data import check_data
from byol.data.decode import decode, stored_kind
from byol.data.image_folder import ImageFolder
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import SkippedImages, require_channels
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError
from tests.unit.data.test_deep_files import tiff

COUNT = 20


def pictures(bands: int = 2, kind: Any = np.uint16, low: int = 0, top: int = 4095) -> np.ndarray:
    return np.random.default_rng(0).integers(low, top + 1, (COUNT, 24, 20, bands)).astype(kind)


def of(image: np.ndarray) -> bytes:
    return tiff(image, planarconfig="contig") if image.shape[2] > 1 else tiff(image[..., 0])


def folder(root: Path, images: np.ndarray) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        (root / f"{i:02d}.tif").write_bytes(of(image))
    return root


def test_deep_colour_map_becomes_rgb_of_8_bits() -> None:
    indices = pictures(1)[0, ..., 0]
    colours = np.random.default_rng(1).integers(0, 65536, (3, 65536)).astype(np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, indices, photometric="palette", colormap=colours, metadata=None)
    found = decode(stream.getvalue(), 3)
    assert stored_kind(io.BytesIO(stream.getvalue())) == (3, "TIFF of 3 bands, uint8")
    assert found.dtype == np.uint8 and np.array_equal(found, colours[:, indices].transpose(1, 2, 0) >> 8)


def test_bands_that_differ_are_said_at_the_start_and_broken(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", pictures(13))
    for i, bands in enumerate((12, 1)):
        (root / f"other{i}.tif").write_bytes(of(pictures(bands)[0]))
    source, skipped = open_source(str(root)), SkippedImages()
    found = profile(source, skipped)
    assert found.channels == 13
    assert any("20 TIFF of 13 bands" in note and "all are read with 13 channels" in note for note in found.notes)
    reasons = [reason for _, reason in skipped.reasons]
    assert sorted(reasons) == [f"it has {bands} channels where 13 were expected" for bands in (1, 12)]
    assert check_data(source).channels == {13: 20, 12: 1, 1: 1}


def test_grey_stands_for_colour_alone(tmp_path: Path) -> None:
    source = open_source(str(folder(tmp_path / "set", pictures(1))))
    assert source.read(0, 3).shape == (24, 20, 3)
    with pytest.raises(BrokenImageError, match="it has 1 channels where 13 were expected"):
        source.read(0, 13)
    with pytest.raises(DataError, match="images of 1 channels, and the encoder takes 13"):
        require_channels(source, 13)
    require_channels(source, 3)


def test_signed_values_go_from_the_lowest_to_the_highest_of_the_sample(tmp_path: Path) -> None:
    images = pictures(2, np.int16, -1000, 3000)
    source = open_source(str(folder(tmp_path / "set", images)))
    low, high = float(images.min()), float(images.max())
    assert np.array_equal(source.read(3, 2), ((images[3] - low) * (65535 / (high - low))).round())
    assert f"({low:g} to {high:g} and clipped)" in str(source.number_format())


def test_constant_band_is_kept_and_has_no_percentiles(tmp_path: Path) -> None:
    images = pictures(2)
    images[..., 1] = 700
    root = folder(tmp_path / "set", images)
    assert (open_source(str(root)).read(0, 2)[..., 1] == round(700 * 65535 / 4095)).all()
    assert profile(open_source(str(root)), SkippedImages()).std[1] > 0
    source = open_source(DataSpec(str(root), range="1%,99%"))
    with pytest.raises(DataError, match=r"Band 2 has the value 700 at both percentiles; give --data\.range LOW,HIGH"):
        profile(source, SkippedImages())


def test_pixels_without_data_do_not_count_in_percentiles(tmp_path: Path) -> None:
    images = pictures(2, np.float32)
    images[:, 0] = np.nan
    images[:, 1] = np.inf
    source = open_source(DataSpec(str(folder(tmp_path / "set", images)), range="0%,100%"))
    rule = (source.read(0, 2), source.number_format())[1]  # pyright: ignore[reportAttributeAccessIssue]
    known = images[:, 2:].astype(np.float64)
    assert np.allclose(rule.floats.high, known.max(axis=(0, 1, 2)), atol=5)
    np.save(tmp_path / "a.npy", images)
    whole = open_source(DataSpec(str(tmp_path / "a.npy"), range="0%,100%"))
    assert np.isfinite((whole.read(0, 2), whole.number_format())[1].floats.high).all()  # pyright: ignore


@pytest.mark.parametrize("given", ["0,1", "50000,60000"])
def test_range_beyond_nearly_all_values_is_refused_after_one_look(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(DataSpec(str(folder(tmp_path / "set", pictures() + 2)), range=given))
    read, deep = [], ImageFolder.deep
    monkeypatch.setattr(ImageFolder, "deep", lambda self, i: read.append(i) or deep(self, i))
    with pytest.raises(
        DataError, match=rf"--data\.range {given} leaves 0 % of the values of 20 images between 0 and 1: they go from"
    ):
        profile(source, SkippedImages())
    assert len(read) == COUNT


@pytest.mark.parametrize("given", ["1", "2,1", "-1%,50%", "1%,101%", "a,b", "1%,2"])
def test_range_that_is_none_is_one_sentence(given: str) -> None:
    with pytest.raises(DataError, match=r"--data\.range is LOW,HIGH"):
        DataSpec("x", range=given)
