"""Makes the bundled sample from the original Fashion-MNIST files.

    python tools/make_sample.py FOLDER_WITH_THE_IDX_GZ_FILES

Takes the first 1,200 training and the first 200 test images of every class, in the original order.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).parents[1] / "src/byol/data/sample_files/fashion_mnist_sample.npz"


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes as an array."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)]))


def main(folder: Path) -> None:
    arrays = {}
    for split, prefix, count in (("train", "train", 1200), ("test", "t10k", 200)):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = first_of_each_class(labels, count)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[chosen], labels[chosen]
    np.savez_compressed(OUTPUT, **arrays)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
