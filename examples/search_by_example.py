"""Pretrain on a folder of images, then find those most like one of them.

    python examples/search_by_example.py photos/ photos/cat/01.jpg --epochs 50

Needs no labels. A second call finds the run and only searches.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

import byol
from byol.data.decode import decode


def vectors(run: Path, folder: str) -> tuple[list[str], torch.Tensor]:
    """(N names, (N, D) vectors) of the folder's images, kept in the run until there are others."""
    kept = hashlib.sha256(
        "\n".join(sorted(map(str, Path(folder).resolve().rglob("*")))).encode("utf-8", "replace")
    ).hexdigest()[:16]
    file = run / f"vectors-{kept}.npz"
    if not file.exists():
        byol.embed(run, folder, file)
    with np.load(file) as arrays:
        return arrays["name"].tolist(), torch.from_numpy(arrays["vector"])


def main() -> None:
    """Prints the nearest images, the nearest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="the images")
    parser.add_argument("query", help="the image to search for")
    parser.add_argument("--run", type=Path, default=Path("runs/search"), help="where the run is, or will be")
    parser.add_argument("--epochs", type=float, default=50)
    parser.add_argument("--count", type=int, default=5)
    options = parser.parse_args()
    if not options.run.exists():
        byol.pretrain(options.folder, epochs=options.epochs, out=options.run)

    encoder = byol.load(options.run)
    names, known = vectors(options.run, options.folder)
    pixels = decode(Path(options.query).read_bytes(), encoder.description.in_channels)
    asked = encoder(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    center = known.mean(dim=0)  # what all images share says nothing about likeness
    cosine = (normalize(known - center) @ normalize(asked - center).T)[:, 0]
    for place in cosine.argsort(descending=True)[: options.count].tolist():
        print(f"{cosine[place]:.3f}  {names[place]}")


if __name__ == "__main__":
    main()
