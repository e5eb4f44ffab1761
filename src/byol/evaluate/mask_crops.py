"""Random crops of images with their masks, for training: scaled, padded, flipped."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from byol.data.masks import IGNORED, MaskedImages
from byol.data.source import SkippedImages
from byol.errors import BrokenImageError, DataError

SCALES = (0.5, 2.0)
"""Range of the uniform random scale (BYOL D.4)."""
AHEAD = 2
"""Number of batches that are read ahead."""


@dataclass(frozen=True)
class MaskCrops:
    """Random square crops of images with their masks; the seed determines each."""

    source: MaskedImages
    channels: int
    mean: Tensor
    """(C,) colour of the padding, in [0, 1]."""
    side: int
    """Side of the crop in px."""
    short_side: int
    """Short side in px of an image at scale 1; 0: the image's own."""
    seed: int
    skipped: SkippedImages

    def batches(self, batch_size: int, steps: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ((B, C, side, side) images in [0, 1], (B, side, side) classes) of all steps, each image once per pass.

        `workers`: number of threads that read ahead. Raises DataError if no image can be decoded, or for a mask that cannot be used.
        """
        waiting: deque[list] = deque()
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                for step in range(steps + AHEAD):
                    if step < steps:
                        waiting.append([pool.submit(self.crop, step * batch_size + row) for row in range(batch_size)])
                    if step >= AHEAD:
                        images, masks = zip(*(part.result() for part in waiting.popleft()), strict=True)
                        yield torch.stack(images), torch.stack(masks)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def crop(self, number: int) -> tuple[Tensor, Tensor]:
        """((C, side, side) image, (side, side) classes) of the crop `number` of the training."""
        pass_, place = divmod(number, len(self.source))
        order = np.random.default_rng((self.seed, pass_)).permutation(len(self.source))
        generator = np.random.default_rng((self.seed, pass_, place))
        reason = ""
        for index in np.roll(order, -place).tolist():  # the next ones stand in for an image that cannot be decoded
            try:
                pixels = self.source.read(index, self.channels)
            except BrokenImageError as error:
                reason = str(error)
                self.skipped.add(self.source, index, reason)
                continue
            return self._cropped(pixels, self.source.mask(index), generator)
        raise DataError(f"No image of {self.source.description} can be decoded: {reason}.")

    def _cropped(self, pixels: np.ndarray, mask: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        height, width = mask.shape
        scale = generator.uniform(*SCALES) * (self.short_side / min(height, width) if self.short_side else 1)
        rows, columns = (_span(length, scale, self.side, generator) for length in (height, width))
        (top, bottom, y, h), (left, right, x, w) = rows, columns
        image = torch.from_numpy(np.ascontiguousarray(pixels[top:bottom, left:right])).permute(2, 0, 1).float()
        image = image / (65535 if pixels.dtype == np.uint16 else 255)
        image = functional.interpolate(image[None], (h, w), mode="bilinear", antialias=True, align_corners=False)[0]
        inner = torch.from_numpy(np.ascontiguousarray(mask[top:bottom, left:right]))
        inner = functional.interpolate(inner[None, None].float(), (h, w), mode="nearest-exact")[0, 0].long()
        view = self.mean.view(-1, 1, 1).expand(-1, self.side, self.side).clone()
        classes = torch.full((self.side, self.side), IGNORED)
        view[:, y : y + h, x : x + w] = image.clamp(0, 1)
        classes[y : y + h, x : x + w] = inner
        return (view.flip(-1), classes.flip(-1)) if generator.random() < 0.5 else (view, classes)


def _span(length: int, scale: float, side: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """(start, end) in an image's px along one axis, and (start, length) in the crop's: a random place of the scaled image in a crop of `side`."""
    scaled = max(1, round(length * scale))
    if scaled <= side:
        return 0, length, int(generator.integers(side - scaled + 1)), scaled
    inside = max(1, min(length, round(side / scale)))
    start = int(generator.integers(length - inside + 1))
    return start, start + inside, 0, side
