"""Decoding of image files to pixels.

The first frame is read and turned upright by its EXIF tag. Transparency is dropped, and the result is converted to grey (1
channel) or RGB (3). Values of more than 8 bits become 16-bit pixels by the rule of the data set (`number_format`). Files of
several bands, 16-bit colour, DICOM and arrays are read by `deep_files`. Further pages of TIFF and frames of DICOM are read
where `deep_files.Reading` says so.
"""

import contextlib
import io
import os
import re
import stat
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from byol.data import deep_files, dicom_files, tiff_files
from byol.data.deep_files import Reading
from byol.data.libraries import joined
from byol.data.number_format import OneFormat
from byol.data.source import Image, with_channels
from byol.errors import BrokenImageError
from byol.runtime.number_format import NumberFormat, ValueRange, filled

with contextlib.suppress(ImportError):  # the extra `heic`
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener()

DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
GREY_MODES = {"1", "L", "LA", *DEEP_MODES}
RUN_BY_OTHERS = {"EPS"}
"""Formats that are not read, because Pillow would run another program, Ghostscript, on their content."""
NO_PICTURES = {"BUFR", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""Formats that Pillow recognises but cannot decode by itself."""
MOST_PIXELS = 250_000_000
"""Default limit of pixels per image. Phones make up to 200 megapixels; a larger file is more likely made to fill the memory."""
MAX_SAMPLE_VALUE, GDAL_NODATA = 281, 42113
"""Numbers of the TIFF tags that state the largest value in the file, and the value of pixels without data."""
# set once, since filters belong to the whole process: warnings of Pillow about odd EXIF blocks, palettes and large photos
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)


@cache
def extensions() -> frozenset[str]:
    """File endings of images, with their dot and in lower case."""
    PillowImage.init()
    unread = RUN_BY_OTHERS | NO_PICTURES
    by_pillow = {e for e, kind in PillowImage.EXTENSION.items() if kind in PillowImage.OPEN and kind not in unread}
    return frozenset(by_pillow | set(dicom_files.ENDINGS))


class EncodedImages(OneFormat):
    """Base class of sources of encoded files: a subclass gives the `content` of an image, and this class decodes it."""

    notes: Sequence[str] = ()
    label_notes: Sequence[str] = ()
    unlabelled: str = ""
    max_pixels: int = MOST_PIXELS
    reading: Reading = Reading()
    most_fingerprinted: int | None = None

    def state_for_workers(self) -> dict[str, Any]:
        """Attributes that were set after the source was opened, for its copy in a worker process."""
        return {n: getattr(self, n) for n in ("max_pixels", "reading", "known_format", "decided_by", "wanted_range")}

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The bytes of the file. Raises BrokenImageError if it cannot be read."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Name of the image, e.g. its path."""

    def stream(self, index: int) -> BinaryIO:
        """The opened file, from which the header alone can be read. Raises BrokenImageError."""
        return io.BytesIO(self.content(index))

    def page(self, index: int) -> int:
        """Number of the page of the file that the image is, from 0."""
        return 0

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        page, rule, most = self.page(index), self.number_format, self.max_pixels
        if self.reading.pages == "images":  # of files that may be large, whose other pages are not read
            with self.stream(index) as stream, _broken_with_reason():
                return _decoded(stream, channels, short_side, rule, most, self.reading, page)
        return decode(
            self.content(index), channels, short_side, number_format=rule, max_pixels=most, reading=self.reading
        )

    def channels(self, index: int) -> int:
        return self.kind(index)[0]

    def dimensions(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels as stored, from the header: an EXIF tag may swap them. Raises BrokenImageError."""
        with self.stream(index) as stream, _broken_with_reason():
            page = _pages(stream, self.reading, self.page(index))[0]
            if kind := deep_files.kind_of(stream, page):
                found = deep_files.header(stream, kind, self.reading.layout, page)
                return found.height, found.width
            with _open(stream, self.max_pixels, page) as opened:
                return opened.height, opened.width

    def kind(self, index: int) -> tuple[int, str]:
        """(number of channels, kind of the file) from its header. Raises BrokenImageError.

        The kind is Pillow's mode, RGB;16 if colour of 16 bits is cut to 8, or words such as `TIFF of 13 bands, uint16`.
        """
        with self.stream(index) as stream:
            return stored_kind(stream, self.reading, self.page(index))

    def stored(self, index: int) -> bytes:
        """The bytes of the file."""
        return self.content(index)

    def stamp(self, index: int) -> bytes:
        """The bytes of the file, and how it is read."""
        return self.content(index) + self._how()

    def _how(self) -> bytes:
        """The user's options for reading the files, as text in bytes; empty without any."""
        how = (self.wanted_range, self.reading)
        return b"" if how == ("", Reading()) else repr(how).encode()

    def deep(self, index: int) -> tuple[NDArray[Any], float] | None:
        page = self.page(index)
        with self.stream(index) as stream, _broken_with_reason():
            pages = _pages(stream, self.reading, page)
            if kind := deep_files.kind_of(stream, pages[0]):
                values = deep_files.read(stream, kind, self.max_pixels, self.reading.layout, pages)
                return None if values.dtype == np.uint8 else (values, 0.0)
            with _open(stream, self.max_pixels, pages[0]) as opened:
                if opened.mode not in DEEP_MODES:
                    return None
                stated = _stated(opened)
                return (_values(opened) if len(pages) == 1 else _pages_of(opened, pages)), stated


def read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises BrokenImageError with the reason."""
    with open_file(path) as stream:
        return stream.read()


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file only, since reading a pipe could wait forever. Raises BrokenImageError with the reason."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BrokenImageError("it is a folder" if path.is_dir() else "it is not a regular file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise BrokenImageError(getattr(error, "strerror", None) or str(error)) from error


def decode(
    content: bytes,
    channels: int,
    short_side: int = 0,
    *,
    number_format: Callable[[], NumberFormat] | None = None,
    max_pixels: int = MOST_PIXELS,
    reading: Reading = Reading(),  # noqa: B008
) -> Image:
    """(H, W, channels) uint8 pixels, uint16 where the file has more than 8 bits. Raises BrokenImageError with the reason.

    With `short_side` a JPEG is decoded at the smallest of the scales 1, 1/2, 1/4 and 1/8 whose short side is at least that
    many pixels. Each halving of the scale halves the time or more. `number_format` is called if the image has more than 8 bits.
    """
    with _broken_with_reason(content):
        return _decoded(io.BytesIO(content), channels, short_side, number_format, max_pixels, reading, 0)


def _decoded(
    stream: BinaryIO,
    channels: int,
    short_side: int,
    number_format: Callable[[], NumberFormat] | None,
    max_pixels: int,
    reading: Reading,
    page: int,
) -> Image:
    pages = _pages(stream, reading, page)
    if kind := deep_files.kind_of(stream, pages[0]):
        values = deep_files.read(stream, kind, max_pixels, reading.layout, pages)
        return with_channels(as_pixels(values, number_format), channels)
    with _open(stream, max_pixels, pages[0]) as opened:
        if len(pages) > 1:
            return with_channels(as_pixels(_pages_of(opened, pages), number_format), channels)
        if short_side:
            opened.draft(None, (short_side, short_side))  # pyright: ignore[reportArgumentType]
        upright(opened)
        grey = channels == 1 or (channels != 3 and opened.mode in GREY_MODES)
        pixels = pillow_pixels(opened, grey, number_format)
    return with_channels(pixels, channels)


def _pages(stream: BinaryIO, reading: Reading, page: int) -> tuple[int, ...]:
    """Numbers of the pages that are one image."""
    return deep_files.page_numbers(stream) if reading.pages == "bands" else (page,)


def _pages_of(opened: PillowImage.Image, pages: Sequence[int]) -> NDArray[Any]:
    """(H, W, bands) values of pages that Pillow reads, page after page. Raises BrokenImageError if they do not fit together."""
    values: list[NDArray[Any]] = []
    for page in pages:
        opened.seek(page)
        is_deep = opened.mode in DEEP_MODES
        values.append(_values(opened)[..., None] if is_deep else pillow_pixels(opened, opened.mode in GREY_MODES))
    return joined(values)


def _open(stream: BinaryIO, max_pixels: int, page: int = 0) -> PillowImage.Image:
    """The image, not yet decoded. Raises DecompressionBombError if it has more than `max_pixels`."""
    if PillowImage.MAX_IMAGE_PIXELS is not None and max_pixels > PillowImage.MAX_IMAGE_PIXELS:
        PillowImage.MAX_IMAGE_PIXELS = max_pixels
    opened = PillowImage.open(stream)
    if opened.format in RUN_BY_OTHERS:
        raise UnidentifiedImageError
    if page:
        opened.seek(page)
    if opened.width * opened.height > max_pixels:
        raise PillowImage.DecompressionBombError(str(opened.width * opened.height))
    return opened


@contextlib.contextmanager
def _broken_with_reason(content: bytes = b"?"):
    """Turns every exception of Pillow's plugins into BrokenImageError."""
    try:
        yield
    except BrokenImageError:
        raise
    except Exception as error:  # such as struct.error of a bad EXIF block
        raise BrokenImageError(_reason(error, content)) from error


def upright(image: PillowImage.Image) -> None:
    """Turns the image in place as its EXIF tag says. A tag that cannot be read is ignored."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        image.load()  # raises if the pixels cannot be read either


def stored_kind(stream: BinaryIO, reading: Reading = Reading(), page: int = 0) -> tuple[int, str]:  # noqa: B008
    """(number of channels, kind) of a file, from its header (`EncodedImages.kind`). Raises BrokenImageError."""
    with _broken_with_reason():
        numbers = _pages(stream, reading, page)
        page, pages = numbers[0], len(numbers)
        of_pages = f", {pages} pages" if pages > 1 else ""
        if kind := deep_files.kind_of(stream, page):
            found = deep_files.header(stream, kind, reading.layout, page)
            return found.bands * pages, found.kind + of_pages
        with PillowImage.open(stream) as opened:
            if page:
                opened.seek(page)
            raw = str(opened.tile[0].args) if getattr(opened, "tile", None) else ""
            is_grey = opened.mode in GREY_MODES
            is_cut = not is_grey and (";16" in raw or "65535" in raw)  # SGI, PPM
            mode = f"{opened.mode};16" if is_cut else opened.mode
            return (1 if is_grey else 3) * pages, mode + of_pages


def pillow_pixels(
    image: PillowImage.Image, grey: bool, number_format: Callable[[], NumberFormat] | None = None
) -> Image:
    """(H, W, 1) grey or (H, W, 3) RGB pixels: uint16 by `as_pixels` if the image is deep grey, else uint8."""
    if image.mode in DEEP_MODES:
        pixels = as_pixels(_values(image)[..., None], number_format)
        return pixels if grey else np.repeat(pixels, 3, axis=2)
    mode = "L" if grey else "RGB"
    pixels = np.array(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], 1 if grey else 3)


def as_pixels(values: NDArray[Any], number_format: Callable[[], NumberFormat] | None = None) -> Image:
    """uint8 values as they are, deeper ones by `number_format`, or by their own range where there is no data set.

    Raises BrokenImageError if a value is out of range.
    """
    if values.dtype == np.uint8:
        return values
    return (number_format() if number_format else _own_format(values)).as_pixels(values)


def _own_format(values: NDArray[Any]) -> NumberFormat:
    """The rule for a picture outside of a data set: 16 bits, or 8 if a wider type holds no more; floats to 1, or to 255."""
    high = values.max()
    integers = 255.0 if values.dtype != np.uint16 and high <= 255 else 65535.0
    return NumberFormat(ValueRange((0.0,), (integers,)), ValueRange((0.0,), (1.0 if high <= 1 else 255.0,)))


def _values(image: PillowImage.Image) -> NDArray[Any]:
    """(H, W) values of a deep grey image; its no-data value is replaced (`deep_files`)."""
    missing = getattr(image, "tag_v2", {}).get(GDAL_NODATA)
    return filled(np.asarray(image)[..., None], tiff_files.number(missing))[..., 0]


def _stated(image: PillowImage.Image) -> float:
    """The largest value that the file allows; 0 if it does not say."""
    stated = getattr(image, "tag_v2", {}).get(MAX_SAMPLE_VALUE, 0)
    return float(stated[0] if isinstance(stated, tuple) else stated)


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    if isinstance(error, PillowImage.DecompressionBombError) and (count := re.search(r"\d+", str(error))):
        return f"its {int(count[0]):,} pixels are more than --max-megapixels allows"
    return (str(error).splitlines() or [type(error).__name__])[0]
