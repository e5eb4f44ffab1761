"""Features of all images of a source."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.data.number_format import follow
from byol.data.profile import format_words
from byol.data.source import Image, ImageSource, SkippedImages
from byol.encoder.encoder import Encoder
from byol.errors import BrokenImageError, DataError, EncoderError
from byol.runtime.hardware import keep_freed_memory
from byol.runtime.listener import SILENT, Listener
from byol.runtime.threads import tuned_threads

LARGEST = 1e15
"""Largest absolute value of a feature: sums of squares stay finite in float32."""
MOST_BYTES = 2**28
"""Largest size of decoded images that wait for the encoder, in bytes; images read ahead may take as much again."""
MOST_AHEAD = 32
"""Largest number of images that are read ahead."""


@dataclass(frozen=True)
class Features:
    """Feature vectors and labels of all images that could be decoded."""

    vectors: Tensor
    """(N, D) float32 on the CPU."""
    labels: Tensor | None
    """(N,) int64; None without labels."""
    indices: Tensor
    """(N,) index of each image in its source."""
    keys: NDArray[np.void] | None = None
    """(N,) `image_keys` of the images, where the vectors are kept by them."""


def labels_of(features: Features) -> Tensor:
    """(N,) labels of the images. Raises DataError if they have none."""
    if features.labels is None:
        raise DataError("These images have no labels; put the images of each class into a sub-folder of its own.")
    return features.labels


def extract(
    encode: Callable[[Tensor], Tensor],
    source: ImageSource,
    channels: int,
    device: torch.device,
    *,
    skipped: SkippedImages | None = None,
    batch_size: int = 256,
    listener: Listener = SILENT,
    work: str = "reading",
) -> Features:
    """Features of all images by `encode`, (N, C, H, W) uint8 -> (N, D). Images that cannot be decoded go to `skipped`.

    An `Encoder` gets batches of `batch_size` images of any sizes; another `encode` gets batches of one image size. A batch
    holds at most 256 MB of images. `listener` gets the progress under the name `work`. Raises DataError if no image can
    be decoded, EncoderError for features that are not finite.
    """
    broken = SkippedImages()
    if isinstance(encode, Encoder):
        follow(source, encode.description.number_format)
    keep_freed_memory(device)
    vectors = torch.empty(0)
    indices: list[int] = []
    done = 0
    with tuned_threads(device) as tuner:
        for numbers, found in _encoded(encode, source, channels, device, batch_size, broken):
            parts = found.float().cpu()
            require_finite(parts, source.name(numbers[0]))
            if not indices:
                vectors = parts.new_empty(len(source), *parts.shape[1:])
            vectors[numbers] = parts
            indices.extend(numbers)
            listener.work(work, done := len(indices) + len(broken), len(source))
            tuner.check()
    if done < len(source):  # broken ones at the end
        listener.work(work, len(source), len(source))
    if skipped is not None:
        skipped.images.update(broken.images)
    if rule := format_words(source):
        listener.say(f"{source.description}: {rule}")
    if not indices:
        name, reason = next(iter(broken.reasons), ("", "it is empty"))
        raise DataError(f"No image of {source.description} can be decoded; {name}: {reason}.")
    places = torch.tensor(indices).sort().values
    labels = None if source.labels is None else torch.from_numpy(source.labels)[places]
    return Features(vectors if len(places) == len(source) else vectors[places], labels, places)


def require_finite(values: Tensor, name: str) -> None:
    """Raises EncoderError if a feature, of the image `name` or one near it, is not finite or is beyond `LARGEST`."""
    if not bool((values.abs() < LARGEST).all()):
        raise EncoderError(
            f"The encoder gives values that are not finite or beyond {LARGEST:.0e} for {name} and its neighbours: its weights are "
            f"damaged, or its training has diverged (lower the rate)."
        )


def _encoded(
    encode: Callable[[Tensor], Tensor],
    source: ImageSource,
    channels: int,
    device: torch.device,
    batch_size: int,
    skipped: SkippedImages,
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of (indices in the source, features by `encode`) that cover all images."""
    found = batches(source, channels, batch_size, skipped)
    if not isinstance(encode, Encoder):
        for numbers, images in found:
            yield numbers, encode(images.to(device))
        return
    waiting: list[Tensor] = []
    places: list[int] = []
    for numbers, images in found:
        if places and len(places) + len(numbers) > batch_size:
            yield places, encode.encode_preprocessed(torch.cat(waiting))
            waiting, places = [], []
        waiting.append(encode.preprocess(images.to(device)))
        places += numbers
    if places:
        yield places, encode.encode_preprocessed(torch.cat(waiting))


def batches(
    source: ImageSource, channels: int, batch_size: int, skipped: SkippedImages
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of (indices in the source, images (N, C, H, W) of one size and depth), in an order that follows the source's but for these.

    At most `batch_size` images, or 256 MB, wait. Images that cannot be decoded go to `skipped`.
    """
    by_kind: dict[tuple[object, ...], tuple[list[int], list[Image]]] = {}
    held = 0
    for index, image in enumerate(_decoded(source, channels)):
        if isinstance(image, str):
            skipped.add(source, index, image)
        else:
            numbers, images = by_kind.setdefault((image.shape, image.dtype), ([], []))
            numbers.append(index)
            images.append(image)
            held += image.nbytes
        if (index + 1) % batch_size == 0 or index + 1 == len(source) or held >= MOST_BYTES:
            for numbers, images in by_kind.values():
                stacked = np.stack(images)
                images.clear()
                yield numbers, torch.from_numpy(stacked).permute(0, 3, 1, 2)
            by_kind, held = {}, 0


def _decoded(source: ImageSource, channels: int) -> Iterator[Image | str]:
    """Every image in order, or the reason why it cannot be decoded.

    Threads read ahead; the largest image so far determines how many fit into `MOST_BYTES`.
    """

    def read(index: int) -> Image | str:
        try:
            return source.read(index, channels)
        except BrokenImageError as error:
            return str(error)

    left, largest = iter(range(len(source))), 1
    with ThreadPoolExecutor() as pool:
        waiting = deque(pool.submit(read, index) for index in islice(left, 1))
        while waiting:
            image = waiting.popleft().result()
            if not isinstance(image, str):
                largest = max(largest, image.nbytes)
            ahead = max(1, min(MOST_AHEAD, MOST_BYTES // largest))
            waiting.extend(pool.submit(read, index) for index in islice(left, max(0, ahead - len(waiting))))
            yield image
