"""The same image files for every row of a benchmark."""

from pathlib import Path

import numpy as np
from PIL import Image

from byol.data.open import open_source


def write_folder(place: Path, data: str, count: int, size: int, seed: int = 0, suffix: str = ".jpg") -> Path:
    """`count` files below `place`, in one sub-folder: images of `data`, or smooth noise where it is empty.

    `data` is whatever `byol pretrain --data` takes; its images are repeated where they are too few. Images are (size,
    size) where they are made, else as they are.
    """
    folder = place / "images" / "all"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    source = open_source(data) if data else None
    for number in range(count):
        if source is None:
            coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        else:
            image = Image.fromarray(source.read(number % len(source), 3))
        image.save(folder / f"{number:06d}{suffix}", quality=92)
    return folder.parent
