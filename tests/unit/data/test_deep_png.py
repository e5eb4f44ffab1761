"""PNG of 16-bit colour keeps its bits; every other PNG stays with Pillow."""

import importlib
import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps

from byol.data.decode import decode, stored_kind
from byol.data.deep_files import upright
from byol.data.image_folder import ImageFolder
from byol.errors import BrokenImageError


def png(bands: int, top: int = 65535, seed: int = 0) -> tuple[np.ndarray, bytes]:
    """(values, file) of a picture with 16 bits a value."""
    values = np.random.default_rng(seed).integers(0, top + 1, (24, 20, bands)).astype(np.uint16)
    return values, imagecodecs.png_encode(values if bands > 1 else values[..., 0])


@pytest.mark.parametrize(("bands", "without_alpha"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_sixteen_bits_are_kept(bands: int, without_alpha: int) -> None:
    values, content = png(bands)
    found = decode(content, without_alpha)
    assert found.dtype == np.uint16 and np.array_equal(found, values[..., :without_alpha])
    channels, kind = stored_kind(io.BytesIO(content))
    assert channels == without_alpha and (
        kind == f"PNG of {'3 bands' if channels == 3 else '1 band'}, uint16" or bands == 1
    )


def test_bits_in_use_decide_the_range_of_a_folder(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png(3, top=4095, seed=i)[1])
    source = ImageFolder(tmp_path)
    assert np.array_equal(source.read(1, 3), (png(3, 4095, 1)[0] * (65535 / 4095)).round())
    assert "integers of 12 bits" in str(source.number_format())
    assert source.dimensions(0) == (24, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_other_png_are_read_by_pillow_as_before(mode: str) -> None:
    image = Image.fromarray((png(3)[0] >> 8).astype(np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    with Image.open(io.BytesIO(stream.getvalue())) as opened:
        wanted = np.asarray(opened.convert("RGB"))
        assert stored_kind(stream_of(stream))[1] == opened.mode
    assert np.array_equal(decode(stream.getvalue(), 3), wanted)


def stream_of(stream: io.BytesIO) -> io.BytesIO:
    return io.BytesIO(stream.getvalue())


def test_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def refuse(name: str, *more: Any) -> Any:
        if name == "imagecodecs":
            raise ImportError(name)
        return original(name, *more)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(
        BrokenImageError, match=r"PNG of 16-bit colour, which needs imagecodecs: pip install 'byol\[deep\]'"
    ):
        decode(png(3)[1], 3)


@pytest.mark.parametrize("cut", [20, 26, 60, 400])
def test_torn_png_is_one_sentence(cut: int) -> None:
    with pytest.raises(BrokenImageError) as raised:
        decode(png(3)[1][:cut], 3)
    assert str(raised.value) and "\n" not in str(raised.value)


def test_too_large_png_is_refused_by_its_header() -> None:
    with pytest.raises(BrokenImageError, match="480 pixels are more than --max-megapixels allows"):
        decode(png(3)[1], 3, max_pixels=479)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_pillow_turns_others(orientation: int) -> None:
    image = Image.fromarray((png(3)[0] >> 8).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(stream_of(stream))))
    assert np.array_equal(upright(np.asarray(image), orientation), wanted)
