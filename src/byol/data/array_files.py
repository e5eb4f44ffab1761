"""Files of one picture as an array: .npy, and .npz with exactly one array. Nothing is unpickled.

A picture is (H, W), (H, W, C), or (C, H, W) with the layout NCHW (`layout.as_stored_picture`).
"""

import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from byol.data.layout import as_stored_picture
from byol.data.libraries import Header, require_pixels, words
from byol.errors import BrokenImageError, DataError
from byol.runtime.number_format import filled

ENDINGS = (".npy", ".npz")
START, ZIP_START = b"\x93NUMPY", b"PK\x03\x04"
_MOST_NAMED = 4
"""Largest number of arrays named in a message."""


def header(stream: BinaryIO, layout: str) -> Header:
    """The header of a file. Raises BrokenImageError if it is no picture, or the order of its axes is not clear."""
    shape, kind = _described(_array(stream))
    height, width, bands = _picture(np.broadcast_to(np.zeros((), kind), shape), layout).shape
    return Header(height, width, bands, words("array", bands, kind))


def read(stream: BinaryIO, layout: str, max_pixels: int) -> NDArray[Any]:
    """(H, W, bands) values. NaN and infinity get the lowest value of their band in the image. Raises BrokenImageError."""
    found = header(stream, layout)
    require_pixels(found.height, found.width, max_pixels)
    stream.seek(0)
    return filled(_picture(npy.read_array(_array(stream), allow_pickle=False), layout))


def _array(stream: BinaryIO) -> BinaryIO:
    """The stream of the one array in a file."""
    stream.seek(0)
    if stream.read(len(ZIP_START)) != ZIP_START:
        stream.seek(0)
        return stream
    archive = zipfile.ZipFile(stream)
    names = archive.namelist()
    if len(names) != 1:
        shown = ", ".join(name.removesuffix(".npy") for name in names[:_MOST_NAMED])
        more = ", ..." if len(names) > _MOST_NAMED else ""
        raise BrokenImageError(f"it holds {len(names)} arrays ({shown}{more}); an .npz of a picture holds one")
    return archive.open(names[0])  # pyright: ignore[reportReturnType]


def _described(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, type) of an array."""
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read_header(stream)
    if kind.kind not in "iuf":
        what = "Python objects, which are never unpickled" if kind.hasobject else f"values of the type {kind}"
        raise BrokenImageError(f"it holds {what}; a picture holds integers or floats")
    return shape, kind


def _picture(values: NDArray[Any], layout: str) -> NDArray[Any]:
    try:
        return as_stored_picture(values, layout)
    except DataError as error:
        raise BrokenImageError(str(error)) from error
