"""TIFF that Pillow does not read whole: several bands, deep colour, deep colour maps. Read by tifffile.

Bands come in any layout, tiled or in strips; georeference is ignored, alpha is dropped. A colour map becomes RGB of 8 bits.
Pixels with GDAL's no-data value get the lowest value of their band in the image.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
)

from byol.data.libraries import Header, joined, library, require_pixels, words
from byol.errors import BrokenImageError
from byol.runtime.number_format import filled

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF and of a BigTIFF, in both byte orders."""
_GREY, _RGB, _PALETTE = (0, 1), 2, 3
"""Values of TIFF's photometric interpretation."""
_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 1 | 4
"""Tag that says what a page is, and its bits for a smaller copy and for a mask of another page."""
_WHAT = "a TIFF of several bands or deep colour"


def is_beyond_pillow(stream: BinaryIO, page: int = 0) -> bool:
    """Whether Pillow does not read the page of a TIFF, or loses bits or bands of it."""
    try:
        tags = next(islice(_directories(stream), page, None))
        samples, bits = tags.get(SAMPLESPERPIXEL, 1), tags.get(BITSPERSAMPLE, (1,))
        is_grey = tags.get(PHOTOMETRIC_INTERPRETATION) in _GREY
        several = samples > 1 and (max(bits) > 8 or (is_grey and not (samples == 2 and EXTRASAMPLES in tags)))
        if several or samples > 4:
            return True
        stream.seek(0)
        with PillowImage.open(stream) as opened:
            opened.seek(page)
    except Exception:  # whatever Pillow raises where it knows no such kind
        return True
    return False


def page_numbers(stream: BinaryIO) -> tuple[int, ...]:
    """Numbers, from 0, of the pages that are neither a smaller copy of another one nor a mask; (0,) if there is none."""
    kinds = [directory.get(_SUBFILE_TYPE, 0) for directory in _directories(stream)]
    pictures = (number for number, kind in enumerate(kinds) if not (isinstance(kind, int) and kind & _REDUCED_OR_MASK))
    return tuple(pictures) or (0,)


def _directories(stream: BinaryIO) -> Iterator[ImageFileDirectory_v2]:
    """The tags of each page in turn, in one object."""
    stream.seek(0)
    start = stream.read(8)
    if 43 in start[2:4]:
        start += stream.read(8)
    directory = ImageFileDirectory_v2(start)
    place, seen = directory.next, set[int]()
    while place and place not in seen:
        seen.add(place)
        stream.seek(place)
        directory.load(stream)
        yield directory
        place = directory.next


def header(stream: BinaryIO, page: int) -> Header:
    """The header of a page. Raises BrokenImageError."""
    with library("tifffile", _WHAT).TiffFile(stream) as file:
        found = _page(file, page)
        bands = _num_bands(found)
        depth = np.dtype(np.uint8) if _has_colours(found) else found.dtype
        return Header(found.imagelength, found.imagewidth, bands, words("TIFF", bands, depth))


def read(stream: BinaryIO, pages: Sequence[int], max_pixels: int) -> NDArray[Any]:
    """(H, W, bands) values of the pages, whose bands follow each other. Raises BrokenImageError."""
    with library("tifffile", _WHAT).TiffFile(stream) as file:
        return joined([_values(_page(file, page), max_pixels) for page in pages])


def _page(file: Any, number: int) -> Any:
    if number >= len(file.pages):
        raise BrokenImageError(f"it has {len(file.pages)} pages, and no page {number + 1}")
    return file.pages[number]


def _values(page: Any, max_pixels: int) -> NDArray[Any]:
    require_pixels(page.imagelength, page.imagewidth, max_pixels)
    values = page.asarray()
    if page.axes == "SYX":
        values = values.transpose(1, 2, 0)
    elif page.axes not in ("YX", "YXS"):
        raise BrokenImageError(f"it has the axes {page.axes}; byol reads rows, columns and bands")
    if _has_colours(page):
        return (page.colormap[:, values] >> 8).astype(np.uint8).transpose(1, 2, 0)
    values = values.reshape(*values.shape[:2], -1)[..., : _num_bands(page)]
    tag = page.tags.get("GDAL_NODATA")
    return filled(values, number(tag.value) if tag is not None else None)


def _has_colours(page: Any) -> bool:
    return page.photometric == _PALETTE and page.colormap is not None


def _num_bands(page: Any) -> int:
    """Number of samples, without the alpha of RGB; 3 with a colour map."""
    is_colour = _has_colours(page) or (page.photometric == _RGB and page.extrasamples)
    return 3 if is_colour else page.samplesperpixel


def number(text: object) -> float | None:
    """The number that a tag holds as text; None if it holds none."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None
