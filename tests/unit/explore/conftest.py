"""A folder of pictures in three colours, and its library."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol.data.image_folder import ImageFolder
from byol.explore.library import Library, open_library
from tests.unit.explore.coloured_library import COUNT, CPU, make_subject


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 pictures in three colours, a copy, and a broken file."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        pixels = generator.integers(0, 90, (20, 16, 3)).astype(np.uint8)
        pixels[..., number % 3] += 140
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}<b>.png")
    (tmp_path / "photos" / "zz copy.png").write_bytes((tmp_path / "photos" / "04<b>.png").read_bytes())
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Library:
    subject = make_subject(tmp_path / "run")
    found, skipped = open_library(subject, ImageFolder(folder, cache=None), CPU, tmp_path / "out")
    assert [name for name, _ in skipped.reasons] == ["broken.png"]
    return found
