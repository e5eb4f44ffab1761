"""Pictures with masks: a red and a green area on noise, that any map of colours tells apart."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = ("ground", "red", "green")


def masked_picture(seed: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(height, width, 3) pixels and the (height, width) class of each: 0, 1 where they are red, 2 where they are green."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(90, 120, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for label, left in ((1, 0), (2, width // 2)):
        top, x = generator.integers(0, height // 2), left + generator.integers(0, width // 4)
        area = np.s_[top : top + height // 2, x : x + width // 4]
        mask[area] = label
        pixels[area] = 20
        pixels[(*area, label - 1)] = 230
    return pixels, mask


def write_masked(folder: Path, count: int, first: int = 0) -> Path:
    """Writes `count` pictures to `images` and their masks to `masks`, PNG files of the same names."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels, mask = masked_picture(number)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:03d}.png")
    return folder


def write_masked_parquet(file: Path, count: int, first: int = 0, mask_column: str = "mask") -> Path:
    """Writes one parquet file as the Hugging Face Hub has it: structs of bytes and path in the columns `image` and `mask_column`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + count):
        contents = []
        for pixels in masked_picture(number):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            contents.append({"bytes": stream.getvalue(), "path": f"{number:03d}.png"})
        rows.append(dict(zip((mask_column, "image"), reversed(contents), strict=True)))
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def deep_picture(seed: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(height, width, 3) pixels and the (height, width) float32 depth in metres of each: far where they are bright, unknown in a corner."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    a, b, c = generator.uniform(-1, 1, 3)
    grey = (np.sin(3 * (a * x + b * y) + 3 * c) + 1) / 2
    depth = np.exp(2 * grey).astype(np.float32)
    depth[: height // 6, : width // 6] = 0
    pixels = (25 + 200 * grey[..., None] + generator.uniform(0, 5, (height, width, 3))).astype(np.uint8)
    return pixels, depth


def write_deep(folder: Path, count: int, first: int = 0, kind: str = "png") -> Path:
    """Writes `count` pictures to `images` and their depths to `depths`: PNG of 16 bits in millimetres, or .npy in metres."""
    for name in ("images", "depths"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels, depth = deep_picture(number)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
        file = folder / "depths" / f"{number:03d}.{kind}"
        if kind == "npy":
            np.save(file, depth)
        else:
            Image.fromarray((1000 * depth).round().astype(np.uint16)).save(file)
    return folder
