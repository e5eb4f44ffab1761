"""The partner of each training image: another picture of the same thing, a pure function of (seed, epoch, index)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

STREAM = [0, 0, 1, 0]
"""Start of the counter of the random numbers, which no other draw of a training reaches."""


class Partners:
    """Draws of partners. Every picture is uniformly drawn among the others of its thing; one that is alone is its own partner.

    `things`: (N,) number of each image's thing, from 0. Positions count the images from the start of training (`data.order`).
    Differs from the paper, whose two views are of one image.
    """

    def __init__(self, things: NDArray[np.int64], seed: int) -> None:
        self.seed = seed
        self.members = np.argsort(things, kind="stable")
        counts = np.bincount(things)
        first = np.cumsum(counts) - counts
        self.first, self.count = first[things], counts[things]
        """(N,) place in `members` of the first picture of each image's thing, and the number of its pictures."""
        self.own = np.empty_like(self.members)
        """(N,) place of each image among the pictures of its thing."""
        self.own[self.members] = np.arange(len(things)) - self.first[self.members]
        self._epoch = -1
        self._offsets = np.empty(0, dtype=np.int64)

    def of(self, indices: NDArray[np.int64], position: int) -> NDArray[np.int64]:
        """(count,) index of the partner of each of the images at positions `position`, `position` + 1, ..."""
        epochs = (position + np.arange(len(indices))) // len(self.members)
        partners = np.empty_like(indices)
        for epoch in np.unique(epochs):
            images = indices[epochs == epoch]
            partners[epochs == epoch] = self._turned(images, self._of_epoch(int(epoch))[images])
        return partners

    def candidates(self, index: int, position: int) -> Iterator[int]:
        """The partner of the image at a position, then the other pictures of its thing, for where the partner is broken."""
        drawn, others = int(self._of_epoch(position // len(self.members))[index]), int(self.count[index]) - 1
        for further in range(others):
            yield int(self._turned(np.array(index), np.array(1 + (drawn - 1 + further) % others)))

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        """(N,) number of places from each image to its partner among the pictures of its thing, counted in a circle."""
        if epoch != self._epoch:
            uniform = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=STREAM)).random(
                len(self.own)
            )
            self._offsets, self._epoch = 1 + (uniform * (self.count - 1)).astype(np.int64), epoch
        return self._offsets

    def _turned(self, images: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.members[self.first[images] + (self.own[images] + offsets) % self.count[images]]
