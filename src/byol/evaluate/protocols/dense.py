"""Shared functions of the protocols for images with a mask or a depth each: parts, maps, and the pixels that were right."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from byol.data.masks import MaskedImages
from byol.data.paired import PairedImages
from byol.errors import ConfigError, DataError
from byol.evaluate.protocols.options import MapOptions
from byol.evaluate.protocols.protocol import Job
from byol.evaluate.read_maps import read_maps
from byol.evaluate.segmentation import count_pixels, predict_pixels
from byol.nets.maps import choose_stage

VALIDATION_SHARE = 0.1
"""Fraction of the training images on which settings are chosen, if the data has no validation part."""
Classifier = Callable[[Tensor], Tensor]
"""Function from features (M, D) of cells to scores (M, C)."""
T = TypeVar("T", bound=PairedImages)


def sources(job: Job, kind: type[T]) -> tuple[T, T]:
    """(training images, test images). Raises DataError if they are of another kind."""
    if not (isinstance(job.train, kind) and isinstance(job.test, kind)):
        folder = kind.form.folder
        raise DataError(f"{job.train.description} has no {folder}; this protocol takes folders images and {folder}.")
    return job.train, job.test


def held_out(job: Job, count: int, share: float = VALIDATION_SHARE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(fitted, validation) indices of the training images: the data's own validation part, or a fraction `share` by the seed.

    Raises DataError if there is one training image.
    """
    validation = job.validation
    if validation is None:
        order = np.random.default_rng(job.seed).permutation(count)
        validation = np.sort(order[: max(1, round(share * count))])
    fitted = np.setdiff1d(np.arange(count), validation)
    if not len(fitted):
        raise DataError(f"{job.train.description} has {count} training images; give at least two, one to choose settings on.")  # fmt: skip
    return fitted, validation


def map_settings(job: Job, options: MapOptions) -> dict[str, int]:
    """Stage, stride and short side of the maps, for the record."""
    strides = job.encoder.map_strides()
    index = choose_stage(strides, options.stage)
    return {"stage": index + 1, "stride": strides[index], "size": options.size or job.encoder.description.image_size}


def maps_of(
    job: Job, source: PairedImages, options: MapOptions, work: str, *, own_size: bool = False
) -> Iterator[tuple[int, Tensor]]:
    """(index, map (D, h, w)) of every image that can be decoded. Raises ConfigError for a negative size."""
    if options.size < 0:
        raise ConfigError(f"--segment.size and --depth.size must be 0 or more, in px; found {options.size}.")
    batches = read_maps(
        job.encoder,
        source,
        job.device,
        stage=options.stage,
        size=options.size,
        own_size=own_size,
        skipped=job.skipped,
        listener=job.listener,
        work=work,
    )
    for numbers, maps in batches:
        yield from zip(numbers, maps, strict=True)


def count_by_image(
    job: Job,
    source: MaskedImages,
    classifiers: list[Classifier],
    options: MapOptions,
    work: str,
    *,
    own_size: bool = False,
) -> NDArray[np.int64]:
    """(classifiers, N, 3, C) pixels of each image, as `count_pixels` counts them; zeros for an image that cannot be decoded."""
    num_classes = len(source.pixel_classes.names)
    counts = np.zeros((len(classifiers), len(source), 3, num_classes), np.int64)
    for index, values in maps_of(job, source, options, work, own_size=own_size):
        mask, cells = source.mask(index), values.flatten(1).T
        for number, classifier in enumerate(classifiers):
            scores = classifier(cells).T.reshape(-1, *values.shape[1:])
            counts[number, index] = count_pixels(predict_pixels(scores, *mask.shape), mask, num_classes)
    return counts
