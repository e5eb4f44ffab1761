"""Measures of pictures: planted faults are told, sound pictures are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from byol.data.image_folder import ImageFolder
from byol.data.pixel_measures import SMALL_SIDE, faults, measure_pictures, small_pictures
from tests.conftest import encoded


def detailed(seed: int, height: int = 96, width: int = 120, block: int = 6) -> np.ndarray:
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (height // block, width // block, 3)).astype(np.uint8)
    return blocks.repeat(block, axis=0).repeat(block, axis=1)


FAULTY = ("blank.png", "dark.png", "blurred.png", "tiny.png", "odd shape.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        (tmp_path / f"{number:02d}.png").write_bytes(encoded(detailed(number)))
    faulty = {
        "blank": np.full((96, 120, 3), 130, np.uint8),
        "dark": detailed(20) // 6,
        "blurred": np.asarray(Image.fromarray(detailed(21, block=24)).filter(ImageFilter.GaussianBlur(5))),
        "tiny": detailed(22, 18, 24),
        "odd shape": detailed(23, 96, 480),
    }
    for kind, pixels in faulty.items():
        (tmp_path / f"{kind}.png").write_bytes(encoded(np.ascontiguousarray(pixels)))
    (tmp_path / "torn.png").write_bytes(b"no image")
    return tmp_path


def test_faults_are_told_by_kind_and_sound_pictures_are_not(folder: Path) -> None:
    source = ImageFolder(folder, cache=None)
    found = [(source.name(index), f"{kind}.png") for index, kind, _ in faults(measure_pictures(source))]
    assert found == [(name, name) for name in FAULTY]


def test_limits_follow_the_light_of_a_picture_and_the_sharpness_of_the_data(tmp_path: Path) -> None:
    fine = {f"{number:02d}": detailed(number, block=2) for number in range(12)}
    fine["dark"] = (60 + detailed(20, block=2) // 4) // 6
    fine["blurred"] = np.asarray(Image.fromarray(detailed(21, block=2)).filter(ImageFilter.GaussianBlur(2)))
    for name, pixels in fine.items():
        (tmp_path / f"{name}.png").write_bytes(encoded(np.ascontiguousarray(pixels)))
    source = ImageFolder(tmp_path, cache=None)
    assert {(source.name(index), kind) for index, kind, _ in faults(measure_pictures(source))} == {
        ("blurred.png", "blurred"),
        ("dark.png", "dark"),
    }


def test_measures_are_those_of_the_pixels(folder: Path) -> None:
    source = ImageFolder(folder, cache=None)
    measures, pixels = measure_pictures(source), np.asarray(Image.open(folder / "03.png").convert("L")) / 255
    assert source.name(3) == "03.png"
    assert measures.brightness[3] == pytest.approx(pixels.mean(), abs=1e-5)
    assert measures.contrast[3] == pytest.approx(pixels.std(), abs=1e-5)
    assert (measures.short_side[3], measures.ratio[3], measures.channels[3]) == (96, 1.25, 3)
    assert measures.bytes_per_pixel[3] == pytest.approx((folder / "03.png").stat().st_size / (96 * 120))
    torn = [source.name(index) for index in range(len(source))].index("torn.png")
    assert np.isnan(measures.brightness[torn]) and len(set(measures.digest.tolist())) == len(source)
    assert np.array_equal(small_pictures(source, np.array([3, torn]))[0], measures.small[3])
    assert measures.small.shape == (len(source), SMALL_SIDE**2)
