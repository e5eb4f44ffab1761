"""The bundled sample: 12,000 training and 2,000 test images of Fashion-MNIST, 28x28 grey, ten classes.

Origin and licence are in `sample_files/`; `tools/make_sample.py` makes the sample from the original files.
"""

from importlib import resources

import numpy as np

from byol.data.arrays import ArrayImages
from byol.data.public import Split

CLASS_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


def open_sample(split: Split) -> ArrayImages:
    """The training or test images with their labels."""
    file = resources.files("byol.data") / "sample_files" / "fashion_mnist_sample.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        pixels, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return ArrayImages(pixels, labels.astype(np.int64), CLASS_NAMES, f"sample {split} (Fashion-MNIST)")
