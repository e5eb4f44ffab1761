"""Photos enlarged to the size of a phone's: 200 of each class, 4,000 x 3,000 px, JPEG.

python -m benchmarks.enlarge imagenette/ build/phone-photos
"""

import random
import sys
from pathlib import Path

from PIL import Image

PER_CLASS, SIZE, QUALITY = 200, (4000, 3000), 88


def enlarge(folder: Path, out: Path) -> None:
    """Writes enlarged copies of the photos in the class folders of `folder` to folders of the same names in `out`."""
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(source.iterdir())
        random.Random(0).shuffle(files)
        (out / source.name).mkdir(parents=True, exist_ok=True)
        for file in files[:PER_CLASS]:
            photo = Image.open(file).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
            photo.save(out / source.name / f"{file.stem}.jpg", quality=QUALITY)


if __name__ == "__main__":
    enlarge(Path(sys.argv[1]), Path(sys.argv[2]))
