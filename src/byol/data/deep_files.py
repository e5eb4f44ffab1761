"""Image files beyond Pillow: TIFF of several bands or deep colour, PNG of 16-bit colour, DICOM, and arrays."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.ExifTags import Base

from byol.data import array_files, dicom_files, tiff_files
from byol.data.libraries import Header, library, require_pixels, words
from byol.errors import BrokenImageError

ARRAY, DICOM, PNG, TIFF = "array", "DICOM", "PNG", "TIFF"
PAGED_ENDINGS = (".tif", ".tiff", *dicom_files.ENDINGS)
"""Endings of files that may have several pages or frames. Those of animations are not read as such."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {2: 3, 4: 1, 6: 3}
"""Number of bands, without alpha, by colour type of the PNG whose 16 bits Pillow cuts to 8."""
_HEAD = dicom_files.START_AT + len(dicom_files.START)


@dataclass(frozen=True)
class Reading:
    """The user's choice where a file leaves open how it is read."""

    layout: str = ""
    """Order of the axes of arrays: NHWC or NCHW. Empty: by their shape."""
    pages: str = "first"
    """Pages or frames of a file: the `first`, or all as `bands` of one image, or as `images` of their own."""


def kind_of(stream: BinaryIO, page: int = 0) -> str:
    """Kind of a file that Pillow does not read, or not whole, or empty. The stream is rewound."""
    start = stream.read(_HEAD)
    stream.seek(0)
    if start[dicom_files.START_AT :] == dicom_files.START:
        return DICOM
    if start[:8] == _PNG_START:
        return PNG if start[24:25] == b"\x10" and start[25] in _PNG_COLOURS else ""
    if start[:6] == array_files.START or start[:4] == array_files.ZIP_START:
        return ARRAY
    if start[:4] not in tiff_files.STARTS:
        return ""
    try:
        return TIFF if tiff_files.is_beyond_pillow(stream, page) else ""
    finally:
        stream.seek(0)


def page_numbers(stream: BinaryIO) -> tuple[int, ...]:
    """Numbers, from 0, of the pages of a TIFF or the frames of a DICOM that are pictures; (0,) for other files. The stream is rewound."""
    start = stream.read(_HEAD)
    try:
        if start[dicom_files.START_AT :] == dicom_files.START:
            return dicom_files.page_numbers(stream)
        return tiff_files.page_numbers(stream) if start[:4] in tiff_files.STARTS else (0,)
    finally:
        stream.seek(0)


def header(stream: BinaryIO, kind: str, layout: str = "", page: int = 0) -> Header:
    """The header of a page of a file of this kind. Raises BrokenImageError."""
    if kind == TIFF:
        return tiff_files.header(stream, page)
    if kind == DICOM:
        return dicom_files.header(stream)
    return array_files.header(stream, layout) if kind == ARRAY else _png_header(stream)


def read(stream: BinaryIO, kind: str, max_pixels: int, layout: str = "", pages: Sequence[int] = (0,)) -> NDArray[Any]:
    """(H, W, bands) values of the pages of a file of this kind, in the machine's byte order. Raises BrokenImageError."""
    if kind == TIFF:
        values = tiff_files.read(stream, pages, max_pixels)
    elif kind == DICOM:
        values = dicom_files.read(stream, pages, max_pixels)
    else:
        values = array_files.read(stream, layout, max_pixels) if kind == ARRAY else _read_png(stream, max_pixels)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _png_header(stream: BinaryIO) -> Header:
    start = stream.read(26)
    width, height = (int.from_bytes(start[place : place + 4], "big") for place in (16, 20))
    bands = _PNG_COLOURS[start[25]]
    return Header(height, width, bands, words(PNG, bands, np.dtype(np.uint16)))


def _read_png(stream: BinaryIO, max_pixels: int) -> NDArray[Any]:
    """(H, W, bands) values without alpha, turned upright as EXIF says."""
    codecs = library("imagecodecs", "a PNG of 16-bit colour")
    found = _png_header(stream)
    require_pixels(found.height, found.width, max_pixels)
    stream.seek(0)
    content = stream.read()
    try:
        values = codecs.png_decode(content)
    except Exception as error:  # libpng's message, of any kind
        raise BrokenImageError(f"its pixels cannot be decoded ({str(error) or type(error).__name__})") from error
    return upright(values[..., : found.bands], _orientation(content))


def _orientation(content: bytes) -> int:
    if b"eXIf" in content:
        with contextlib.suppress(Exception), PillowImage.open(io.BytesIO(content)) as opened:
            return int(opened.getexif().get(Base.Orientation, 1))
    return 1


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, bands) values turned as the EXIF orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values
