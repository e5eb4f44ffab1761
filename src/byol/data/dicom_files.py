"""DICOM, read by pydicom: rescale slope and intercept are applied, MONOCHROME1 is inverted, palettes become RGB."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from byol.data.libraries import Header, joined, library, require_pixels, words
from byol.errors import BrokenImageError

ENDINGS = (".dcm", ".dicom")
START, START_AT = b"DICM", 128
"""Bytes that tell a DICOM file, and their place in it."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
"""Transfer syntax of which pydicom reads frames from the whole content alone."""


def page_numbers(stream: BinaryIO) -> tuple[int, ...]:
    """Numbers of the frames, from 0."""
    return tuple(range(max(1, int(_described(stream).get("NumberOfFrames") or 1))))


def header(stream: BinaryIO) -> Header:
    """The header of every frame. Raises BrokenImageError."""
    described = _described(stream)
    bands = 3 if _is_palette(described) else int(described.SamplesPerPixel)
    depth = f"{described.BitsStored} bits" if "BitsStored" in described else "float"
    return Header(int(described.Rows), int(described.Columns), bands, words("DICOM", bands, depth))


def read(stream: BinaryIO, frames: Sequence[int], max_pixels: int) -> NDArray[Any]:
    """(H, W, bands) values of the frames, whose bands follow each other. Raises BrokenImageError."""
    pixels, described = library("pydicom.pixels", "DICOM"), _described(stream)
    require_pixels(int(described.Rows), int(described.Columns), max_pixels)
    syntax = described.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise BrokenImageError(f"its transfer syntax {syntax} is none that pydicom knows")
    whole = _described(stream, with_pixels=True) if syntax == _DEFLATED else stream
    return joined([_values(pixels, described, pixels.pixel_array(whole, index=frame)) for frame in frames])


def _described(stream: BinaryIO, *, with_pixels: bool = False) -> Any:
    stream.seek(0)
    return library("pydicom", "DICOM").dcmread(stream, stop_before_pixels=not with_pixels)


def _is_palette(described: Any) -> bool:
    return described.get("PhotometricInterpretation") == "PALETTE COLOR"


def _values(pixels: Any, described: Any, values: NDArray[Any]) -> NDArray[Any]:
    if _is_palette(described):
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
