"""TIFF of several bands and DICOM: pixels by the stated rules, and a sentence for what cannot be read."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from byol.data.decode import decode, stored_kind
from byol.data.image_folder import ImageFolder
from byol.errors import BrokenImageError


def values(bands: int, kind: type = np.uint16, top: int = 4095) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, top + 1, (40, 48, bands)).astype(kind)


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **{"photometric": "minisblack", "metadata": None, **options})
    return stream.getvalue()


def dicom(pixels: np.ndarray, bits: int = 12, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Rows, made.Columns = pixels.shape[-2 - (pixels.ndim > 2 and pixels.shape[-1] == 3) :][:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * pixels.itemsize, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(made, name, value)
    made.PixelData = pixels.tobytes()
    if syntax == RLELossless:
        made.compress(syntax)
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made)
    return stream.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"planarconfig": "contig"},
        {"planarconfig": "separate"},
        {"planarconfig": "contig", "tile": (16, 16)},
        {"planarconfig": "contig", "compression": "deflate"},
        {"planarconfig": "contig", "compression": "lzw", "predictor": True},
        {"planarconfig": "contig", "byteorder": ">"},
        {"planarconfig": "contig", "bigtiff": True},
    ],
)
@pytest.mark.parametrize("bands", [2, 4, 13])
def test_tiff_of_several_bands_is_read_in_every_layout(
    bands: int, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    pixels = values(bands, top=65535)
    stored = np.moveaxis(pixels, 2, 0) if options["planarconfig"] == "separate" else pixels
    content = tiff(stored, **options)
    assert stored_kind(io.BytesIO(content)) == (bands, f"TIFF of {bands} bands, uint16")
    found = decode(content, bands)
    assert found.dtype == np.uint16 and np.array_equal(found, pixels)
    assert caplog.records == []  # Pillow would say that it cannot decode it, for each


def test_tiff_of_deep_colour_keeps_its_bits_and_drops_alpha() -> None:
    colour, alpha = values(3, top=65535), np.full((40, 48, 1), 65535, np.uint16)
    for pixels in (colour, np.concatenate((colour, alpha), axis=2)):
        content = tiff(pixels, photometric="rgb", extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None)
        assert np.array_equal(decode(content, 3), colour)


def test_tiff_that_pillow_reads_stays_with_pillow() -> None:
    colour = values(3, np.uint8, 255)
    assert stored_kind(io.BytesIO(tiff(colour, photometric="rgb"))) == (3, "RGB")
    assert np.array_equal(decode(tiff(colour, photometric="rgb"), 3), colour)


def test_first_page_of_a_tiff_is_read() -> None:
    pages = [values(5, top=65535), values(6, top=65535)[..., :5]]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", planarconfig="contig", metadata=None)
    assert np.array_equal(decode(stream.getvalue(), 5), pages[0])


def test_pixels_without_data_get_the_lowest_value_of_their_band() -> None:
    pixels = values(5, top=60000)
    pixels[pixels == 7] = 8
    pixels[0, 0], pixels[1, 1, 2] = 7, 7
    found = decode(tiff(pixels, planarconfig="contig", extratags=[(42113, "s", 0, "7", True)]), 5)
    known = np.ma.masked_equal(pixels, 7)
    assert np.array_equal(found, known.filled(0) + (known.mask * known.min(axis=(0, 1)).astype(np.uint16)))


def test_folder_of_tiff_has_as_many_channels_as_bands(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.tif").write_bytes(tiff(values(13) + i, planarconfig="contig"))
    (tmp_path / "other.tif").write_bytes(tiff(values(12), planarconfig="contig"))
    source = ImageFolder(tmp_path)
    assert source.channels(0) == 13 and source.dimensions(0) == (40, 48)
    wanted = ((values(13)[3, 4].astype(float) + 1) * (65535 / 16383)).round()  # 4,098 takes more than 12 bits
    assert np.array_equal(source.read(1, 13)[3, 4], wanted)
    with pytest.raises(BrokenImageError, match="it has 12 channels where 13 were expected"):
        source.read(4, 13)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian])
def test_dicom_is_read_in_every_syntax(syntax: str, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.dcm").write_bytes(dicom(values(1)[..., 0] >> i, syntax=syntax))
    source = ImageFolder(tmp_path)
    assert (source.channels(0), source.kind(0)[1], source.dimensions(0)) == (1, "DICOM of 1 band, 12 bits", (40, 48))
    assert np.array_equal(source.read(1, 1), ((values(1) >> 1) * (65535 / 4095)).round())


def test_unknown_transfer_syntax_is_a_sentence() -> None:
    content = dicom(values(1)[..., 0]).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    with pytest.raises(
        BrokenImageError, match=r"its transfer syntax 1\.2\.840\.10008\.9\.9\.9 is none that pydicom knows"
    ):
        decode(content, 1)


def test_dicom_is_rescaled_inverted_and_clipped_to_what_was_seen(tmp_path: Path) -> None:
    pixels = values(1)[..., 0]
    (tmp_path / "0.dcm").write_bytes(dicom(pixels, RescaleSlope=1, RescaleIntercept=-1024))
    (tmp_path / "1.dcm").write_bytes(
        dicom(4095 - pixels, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024)
    )
    source = ImageFolder(tmp_path)
    wanted = ((pixels - float(pixels.min())) * (65535 / np.ptp(pixels).astype(float))).round()
    assert np.array_equal(source.read(0, 1)[..., 0], wanted)
    assert np.array_equal(source.read(1, 1)[..., 0], wanted)
    assert "and clipped" in str(source.number_format())


def test_dicom_of_few_bits_and_colour_and_frames() -> None:
    mask = (values(1)[..., 0] > 2000).astype(np.uint8)
    assert np.array_equal(decode(dicom(mask, 1), 1)[..., 0], mask * 255)
    colour = values(3, np.uint8, 255)
    found = decode(dicom(colour, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), 3)
    assert np.array_equal(found, colour)
    frames = np.stack([values(1)[..., 0], values(2)[..., 0]])
    assert np.array_equal(decode(dicom(frames, NumberOfFrames=2), 1)[..., 0], frames[0])


@pytest.mark.parametrize(
    ("package", "content"),
    [("tifffile", tiff(values(5), planarconfig="contig")), ("pydicom", dicom(values(1)[..., 0]))],
)
def test_missing_library_is_a_sentence(package: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def refuse(name: str, *more: Any) -> Any:
        if name.startswith(package):
            raise ImportError(name)
        return original(name, *more)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(BrokenImageError, match=rf"needs {package}: pip install 'byol\[deep\]'"):
        decode(content, 5)


@pytest.mark.parametrize("content", [tiff(values(5), planarconfig="contig")[:900], dicom(values(1)[..., 0])[:400]])
def test_torn_files_are_broken_with_one_line(content: bytes) -> None:
    with pytest.raises(BrokenImageError) as raised:
        decode(content, 5)
    assert str(raised.value) and "\n" not in str(raised.value)


def test_colour_map_of_a_tiff_becomes_rgb() -> None:
    palette = Image.fromarray(values(3, np.uint8, 255)).convert("P")
    stream = io.BytesIO()
    palette.save(stream, "TIFF")
    assert np.array_equal(decode(stream.getvalue(), 3), np.asarray(palette.convert("RGB")))
