"""Order of the training images: a pure function of (seed, position). Every epoch is a permutation of all images."""

import numpy as np
from numpy.typing import NDArray


class Order:
    """Indices of `num_images` images in their order of use. A batch may cross the boundary between two epochs."""

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images = num_images
        self.seed = seed
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def indices(self, start: int, count: int) -> NDArray[np.int64]:
        """(count,) indices of the images at positions start, start + 1, ..., counted from the start of training."""
        parts = [np.empty(0, dtype=np.int64)]
        while count > 0:
            epoch, place = divmod(start, self.num_images)
            part = self._of_epoch(epoch)[place : place + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            self._permutation, self._epoch = generator.permutation(self.num_images), epoch
        return self._permutation
