"""From a file's bytes to pixels.

The rule: the first frame, turned upright by its EXIF tag, transparency dropped, 16-bit grey scaled to 8, then
converted to grey (1 channel) or RGB (3).
"""

import io
import warnings

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from byol.data.source import Image
from byol.errors import BrokenImageError

GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "F"}


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

    With `short_side` a JPEG is unpacked at the smallest of the scales 1, 1/2, 1/4 and 1/8 that keeps its short side at
    least so long; each step less costs half the time or less.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with PillowImage.open(io.BytesIO(content)) as opened:
                if short_side:
                    opened.draft(None, (short_side, short_side))  # pyright: ignore[reportArgumentType]
                ImageOps.exif_transpose(opened, in_place=True)
                image, mode = _to_eight_bits(opened), "L" if channels == 1 else "RGB"
                pixels = np.array(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    except Exception as error:  # Pillow's plugins raise what they come upon, struct.error of a bad EXIF block, too
        raise BrokenImageError(_reason(error, content)) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def stored_channels(content: bytes) -> int:
    """1 where the file stores grey values alone, else 3. Raises BrokenImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PillowImage.open(io.BytesIO(content)) as opened:
                return 1 if opened.mode in GREY_MODES else 3
    except Exception as error:
        raise BrokenImageError(_reason(error, content)) from error


def _reason(error: Exception, content: bytes) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    return str(error) or type(error).__name__


def _to_eight_bits(image: PillowImage.Image) -> PillowImage.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        scale = 257.0 if values.max(initial=0) > 255 else 1.0
        return PillowImage.fromarray((values / scale).clip(0, 255).round().astype(np.uint8))
    return image
