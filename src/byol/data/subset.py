"""Parts of a source, and class-balanced splits."""

import numpy as np
from numpy.typing import NDArray

from byol.data.source import Image, ImageSource


class Subset:
    """The images of `source` at `indices`, in that order."""

    def __init__(self, source: ImageSource, indices: NDArray[np.int64], description: str) -> None:
        self.source = source
        self.indices = indices
        self.labels = None if source.labels is None else source.labels[indices]
        self.class_names = source.class_names
        self.notes, self.label_notes, self.unlabelled = source.notes, source.label_notes, source.unlabelled
        self.description = description

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, channels: int, short_side: int = 0) -> Image:
        return self.source.read(int(self.indices[index]), channels, short_side)

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def channels(self, index: int) -> int:
        return self.source.channels(int(self.indices[index]))


def renumbered(source: ImageSource, classes: NDArray[np.int64]) -> ImageSource:
    """The source with each of the sorted `classes` numbered by its index, so that sparse numbers cost no memory; names are kept."""
    assert source.labels is not None
    if np.array_equal(classes, np.arange(len(classes))):
        return source
    names = source.class_names or []
    subset = Subset(source, np.arange(len(source)), source.description)
    subset.labels = np.searchsorted(classes, source.labels)
    subset.class_names = [names[c] if c < len(names) else str(c) for c in classes.tolist()]
    return subset


def held_out(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(kept, held out) indices. `fraction` of every class is held out, at least one image if the class has two or more."""
    generator = np.random.default_rng(seed)
    kept_indices, held_out_indices = [], []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        held_out_indices.append(members[:count])
        kept_indices.append(members[count:])
    return np.sort(np.concatenate(kept_indices)), np.sort(np.concatenate(held_out_indices))


def per_class(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` random images of every class, or of all images of a smaller class."""
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(members))


def share_of_each(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Indices of a random fraction `share` of every class, at least one image of each."""
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([part[: max(1, round(share * len(part)))] for part in members]))
