"""Small sets of images of equal size and depth, as one tensor in memory."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from byol.data.arrays import ArrayImages
from byol.data.photo_store import stored_part
from byol.data.source import Image, ImageSource, SkippedImages
from byol.errors import BrokenImageError

MEMORY_LIMIT_BYTES = 2 * 1024**3


def load_resident(
    source: ImageSource, channels: int, skipped: SkippedImages, limit_bytes: int = MEMORY_LIMIT_BYTES
) -> tuple[Tensor, Tensor] | None:
    """(images (M, C, H, W), uint8 or uint16, their (M,) indices in the source), without the broken images.

    The result is None if the images differ in size or depth, take more than `limit_bytes`, are all broken, or are photos to be decoded
    in every pass.
    """
    if _in_every_pass(source):
        return None
    if isinstance(source, ArrayImages) and source.pixels.dtype == np.uint8 and source.pixels.shape[3] == channels:
        if source.pixels.nbytes > limit_bytes:
            return None
        return torch.from_numpy(source.pixels.transpose(0, 3, 1, 2).copy()), torch.arange(len(source))

    def read(index: int) -> Image | str:
        try:
            return source.read(index, channels)
        except BrokenImageError as error:
            return str(error)

    images: list[Image] = []
    indices: list[int] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(source), 1024):
            block = range(start, min(start + 1024, len(source)))
            for index, image in zip(block, pool.map(read, block), strict=True):
                if isinstance(image, str):
                    skipped.add(source, index, image)
                    continue
                if images and (_kind(image) != _kind(images[0]) or image.nbytes * len(source) > limit_bytes):
                    return None
                images.append(image)
                indices.append(index)
    if not images:
        return None
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), torch.tensor(indices)


def fits_memory(source: ImageSource, images: Sequence[Image]) -> bool:
    """Whether `load_resident` will keep the images of `source` in memory, judged by some of them."""
    is_equal = len({_kind(image) for image in images}) == 1
    return is_equal and images[0].nbytes * len(source) <= MEMORY_LIMIT_BYTES and not _in_every_pass(source)


def _kind(image: Image) -> tuple[tuple[int, ...], np.dtype]:
    return image.shape, image.dtype


def _in_every_pass(source: ImageSource) -> bool:
    photos = stored_part(source)
    return photos is not None and photos.in_every_pass
