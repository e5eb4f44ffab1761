"""From a file's bytes to pixels.

The rule: the first frame, turned upright by its EXIF tag, transparency dropped, deep grey scaled to 8 bits
(`pillow_pixels`), then converted to grey (1 channel) or RGB (3).
"""

import io
import warnings

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from byol.data.source import Image, with_channels
from byol.errors import BrokenImageError

DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
GREY_MODES = {"1", "L", "LA", *DEEP_MODES}
RUN_BY_OTHERS = {"EPS"}
"""For these Pillow would start another program, Ghostscript, on whatever the file holds."""
# once, since filters belong to the whole process: what Pillow says of odd EXIF blocks and palettes
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class EncodedImages:
    """What sources of encoded files share: they give the `content` of an image, and here it is decoded."""

    def content(self, index: int) -> bytes:
        """The file. Raises BrokenImageError where it cannot be read."""
        raise NotImplementedError

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        return decode(self.content(index), channels, short_side)

    def channels(self, index: int) -> int:
        return stored_channels(self.content(index))


def decode(content: bytes, channels: int, short_side: int = 0) -> Image:
    """(H, W, channels) uint8 pixels, channels 1 or 3. Raises BrokenImageError with the reason.

    An image of more pixels than Pillow's MAX_IMAGE_PIXELS counts as broken.

    With `short_side` a JPEG is unpacked at the smallest of the scales 1, 1/2, 1/4 and 1/8 that keeps its short side at
    least so long; each step less costs half the time or less.
    """
    try:
        with PillowImage.open(io.BytesIO(content)) as opened:
            if opened.format in RUN_BY_OTHERS:
                raise UnidentifiedImageError
            limit, count = PillowImage.MAX_IMAGE_PIXELS, opened.width * opened.height
            if limit is not None and count > limit:
                raise BrokenImageError(f"its {count:,} pixels are more than the {limit:,} that Pillow takes for safe")
            if short_side:
                opened.draft(None, (short_side, short_side))  # pyright: ignore[reportArgumentType]
            upright(opened)
            pixels = pillow_pixels(opened, grey=channels == 1)
    except Exception as error:  # Pillow's plugins raise what they come upon, struct.error of a bad EXIF block, too
        raise BrokenImageError(_reason(error, content)) from error
    return with_channels(pixels, channels)


def upright(image: PillowImage.Image) -> None:
    """Turns it as its EXIF tag says, in place; a tag that cannot be read costs nothing but that."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        image.load()  # which raises where it is the pixels that cannot be read


def stored_channels(content: bytes) -> int:
    """1 where the file stores grey values alone, else 3. Raises BrokenImageError."""
    try:
        with PillowImage.open(io.BytesIO(content)) as opened:
            return 1 if opened.mode in GREY_MODES else 3
    except Exception as error:
        raise BrokenImageError(_reason(error, content)) from error


def pillow_pixels(image: PillowImage.Image, grey: bool) -> Image:
    """(H, W, 1) grey or (H, W, 3) RGB uint8 pixels.

    Deep grey becomes 8 bits: 16-bit values by 257; 32-bit ones as well where any is above 255 (as which Pillow opens
    some 16-bit files); floats by 1/255 where none is above 1. Raises BrokenImageError where that leaves 0 to 255.
    """
    if image.mode in DEEP_MODES:
        values = np.asarray(image).astype(np.float64)
        low, high = values.min(), values.max()
        if image.mode == "F":
            unit = 1 / 255 if high <= 1 else 1.0
        else:
            unit = 1.0 if image.mode == "I" and high <= 255 else 257.0
        if not (low >= 0 and high <= 255 * unit):
            ranges = "0 to 1 nor 0 to 255" if image.mode == "F" else "0 to 255 nor 0 to 65535"
            raise BrokenImageError(f"its values, {low:g} to {high:g}, fit neither {ranges}; store it with 8 bits")
        image = PillowImage.fromarray((values / unit).round().astype(np.uint8))
    mode = "L" if grey else "RGB"
    pixels = np.array(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], 1 if grey else 3)


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    return str(error) or type(error).__name__
