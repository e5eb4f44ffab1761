"""Pictures made grey, in the same folders: python -m benchmarks.grey PHOTOS GREY."""

import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    """Writes a PNG of one channel for each JPEG and PNG file."""
    source, target = map(Path, sys.argv[1:])
    for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        place = (target / path.relative_to(source)).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(place)


if __name__ == "__main__":
    main()
