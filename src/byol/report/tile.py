"""Tiles, which are square pictures of one size, and sheets, which are images of many tiles."""

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from byol.data.source import Image
from byol.report.display import display

SMALL_SIDE = 48
"""Largest tile side, in pixels, that is enlarged without smoothing."""


def tile(pixels: Image, side: int) -> NDArray[np.uint8]:
    """The tile, (side, side, 3), of a whole (H, W, C) image, on a grey background if the image is not square.

    One channel is shown as grey; of more than three channels, the first three are shown. 16 bits are stretched
    (`display`).
    """
    rgb = as_rgb(pixels)
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = PillowImage.fromarray(rgb)
    if picture.size != size:
        method = PillowImage.Resampling.NEAREST if scale > 2 else PillowImage.Resampling.LANCZOS
        picture = picture.resize(size, method)
    canvas = PillowImage.new("RGB", (side, side), (128, 128, 128))
    canvas.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(canvas)


def as_rgb(pixels: Image) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 image of an (H, W, C) one: its first three channels, or its first three times."""
    if pixels.dtype != np.uint8:
        return display([pixels])(pixels)
    channels = pixels.shape[2]
    return np.ascontiguousarray(pixels[..., :3] if channels >= 3 else pixels[..., [0, 0, 0]], dtype=np.uint8)


@dataclass(frozen=True)
class Sheet:
    """N tiles in one WebP image, row by row."""

    uri: str
    columns: int
    rows: int
    side: int

    def place(self) -> dict[str, Any]:
        """Layout that the page needs to find a tile."""
        return {"columns": self.columns, "rows": self.rows, "side": self.side, "pixelated": self.side <= SMALL_SIDE}


def sheet(tiles: list[Image], columns: int = 0, *, quality: int = 80) -> Sheet:
    """The sheet of (S, S, 3) uint8 tiles. `columns`: 0 gives a sheet that is as square as possible."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    pixels = mosaic(tiles, columns)
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "WEBP", quality=quality, method=2)
    uri = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Sheet(uri, columns, math.ceil(len(tiles) / columns), tiles[0].shape[0])


def mosaic(tiles: list[Image], columns: int, gap: int = 0, colour: int = 255) -> NDArray[np.uint8]:
    """The image, (H, W, 3), of tiles row by row, `gap` pixels apart."""
    side = tiles[0].shape[0]
    rows = math.ceil(len(tiles) / columns)
    out = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), colour, np.uint8)
    for number, pixels in enumerate(tiles):
        top, left = (side + gap) * (number // columns), (side + gap) * (number % columns)
        out[top : top + side, left : left + side] = pixels
    return out
