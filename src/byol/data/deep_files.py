"""Image files beyond Pillow: TIFF of several bands or deep colour, and DICOM. Of several pages or frames the first is read.

TIFF: bands in any layout, tiled or in strips; georeference is ignored, alpha is dropped. DICOM: rescale slope and
intercept are applied, MONOCHROME1 is inverted, palettes become RGB. Pixels with GDAL's no-data value get the lowest value of
their band in the image.
"""

import importlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import BITSPERSAMPLE, EXTRASAMPLES, PHOTOMETRIC_INTERPRETATION, SAMPLESPERPIXEL

from byol.errors import BrokenImageError
from byol.runtime.number_format import filled

DICOM, TIFF = "DICOM", "TIFF"
DICOM_ENDINGS = (".dcm", ".dicom")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DICOM_START, _DICOM_AT = b"DICM", 128
_GREY, _RGB = (0, 1), 2
"""Values of TIFF's photometric interpretation."""
_EXTRAS = {TIFF: ("tifffile", "a TIFF of several bands or deep colour"), DICOM: ("pydicom", "DICOM")}


@dataclass(frozen=True)
class Header:
    """Size and bands of a file."""

    height: int
    width: int
    bands: int
    kind: str
    """Kind of the file, for messages: `TIFF of 13 bands, uint16`."""


def kind_of(stream: BinaryIO) -> str:
    """`DICOM`, `TIFF` if the file is one that Pillow does not read whole, or empty. The stream is rewound."""
    start = stream.read(_DICOM_AT + len(_DICOM_START))
    stream.seek(0)
    if start[_DICOM_AT:] == _DICOM_START:
        return DICOM
    if start[:4] not in _TIFF_STARTS:
        return ""
    try:
        with PillowImage.open(stream) as opened:
            tags, is_colour = getattr(opened, "tag_v2", {}), opened.mode in ("RGB", "RGBA")
    except Exception:  # of several bands, mostly
        return TIFF
    finally:
        stream.seek(0)
    samples, bits, photometric = (
        tags.get(SAMPLESPERPIXEL, 1),
        tags.get(BITSPERSAMPLE, (1,)),
        tags.get(PHOTOMETRIC_INTERPRETATION),
    )
    several = samples > 1 and (max(bits) > 8 or (photometric in _GREY and not (samples == 2 and EXTRASAMPLES in tags)))
    if several and is_colour and importlib.util.find_spec("tifffile") is None:
        return ""  # Pillow reads the upper 8 bits
    return TIFF if several or samples > 4 else ""


def header(stream: BinaryIO, kind: str) -> Header:
    """The header of a file of this kind. Raises BrokenImageError."""
    if kind == TIFF:
        with _library(TIFF).TiffFile(stream) as file:
            page = file.pages[0]
            bands = _num_bands(page)
            return Header(page.imagelength, page.imagewidth, bands, _words(TIFF, bands, page.dtype))
    described = _library(DICOM).dcmread(stream, stop_before_pixels=True)
    palette = described.get("PhotometricInterpretation") == "PALETTE COLOR"
    bands = 3 if palette else int(described.SamplesPerPixel)
    words = (
        f"{_words(DICOM, bands, described.get('BitsStored', 'float'))}{' bits' if 'BitsStored' in described else ''}"
    )
    return Header(int(described.Rows), int(described.Columns), bands, words)


def read(content: bytes, kind: str) -> NDArray[Any]:
    """(H, W, bands) values of a file of this kind, in the machine's byte order. Raises BrokenImageError."""
    values = _read_tiff(content) if kind == TIFF else _read_dicom(content)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _read_tiff(content: bytes) -> NDArray[Any]:
    with _library(TIFF).TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        values = page.asarray()
        if page.axes == "SYX":
            values = values.transpose(1, 2, 0)
        elif page.axes not in ("YX", "YXS"):
            raise BrokenImageError(f"it has the axes {page.axes}; byol reads rows, columns and bands")
        tag = page.tags.get("GDAL_NODATA")
    values = values.reshape(*values.shape[:2], -1)[..., : _num_bands(page)]
    return filled(values, number(tag.value) if tag is not None else None)


def _num_bands(page: Any) -> int:
    """Number of samples, without the alpha of RGB."""
    return 3 if page.photometric == _RGB and page.extrasamples else page.samplesperpixel


def _read_dicom(content: bytes) -> NDArray[Any]:
    pydicom, pixels = _library(DICOM), _import("pydicom.pixels", DICOM)
    described = pydicom.dcmread(io.BytesIO(content))
    values = described.pixel_array
    if int(described.get("NumberOfFrames") or 1) > 1:
        values = values[0]
    if described.get("PhotometricInterpretation") == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, described)
        if values.dtype == np.uint16 and not (values & 255).any():
            values = (values >> 8).astype(np.uint8)
    elif described.SamplesPerPixel == 1:
        values = _grey(values, described, pixels.apply_modality_lut)
    return values.reshape(*values.shape[:2], -1)


def _grey(values: NDArray[Any], described: Any, rescale: Callable[[NDArray[Any], Any], NDArray[Any]]) -> NDArray[Any]:
    """Grey values after inversion and rescaling, as integers where they are whole; fewer than 8 bits fill a byte."""
    bits = int(described.get("BitsStored", 8))
    if described.get("PhotometricInterpretation") == "MONOCHROME1":
        highest = -1 if described.PixelRepresentation else 2**bits - 1
        values = (highest - values.astype(np.int64)).astype(values.dtype)
    rescaled = rescale(values, described)
    if values.dtype.kind in "iu" and rescaled.dtype.kind == "f" and bool((rescaled == rescaled.round()).all()):
        rescaled = rescaled.astype(np.int64)
    if rescaled.dtype == np.uint8 and bits < 8:
        rescaled = (rescaled * (255 / (2**bits - 1))).round().astype(np.uint8)
    return rescaled


def _words(kind: str, bands: int, depth: object) -> str:
    return f"{kind} of {bands} band{'s' if bands > 1 else ''}, {depth}"


def number(text: object) -> float | None:
    """The number that a tag holds as text; None if it holds none."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def _library(kind: str) -> ModuleType:
    return _import(_EXTRAS[kind][0], kind)


def _import(name: str, kind: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package, what = _EXTRAS[kind]
        raise BrokenImageError(f"it is {what}, which needs {package}: pip install 'byol[deep]'") from error
