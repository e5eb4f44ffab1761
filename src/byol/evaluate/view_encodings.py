"""Encodings of several views of the same images."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from byol.data.loader import Crop
from byol.data.source import Image, ImageSource, SkippedImages
from byol.errors import BrokenImageError, DataError
from byol.methods.network import Method
from byol.runtime.listener import SILENT, Listener
from byol.views.views import Views

Encode = Callable[[Tensor], dict[str, Tensor]]
"""Function from (N, C, S, S) views in [0, 1] to (N, D) encodings by name."""
Crops = Callable[[int], Tensor]
"""Function from a training step to the crops of one image."""


@dataclass(frozen=True)
class ViewedImages:
    """Images whose views are to be encoded, and how to make the views."""

    source: ImageSource
    channels: int
    views: Views
    num_pairs: int
    """Pairs of views per image; pair p equals the views of step p in a training with the same seed."""
    batch_size: int

    def batches(self, num_images: int, skipped: SkippedImages) -> Iterator[list[Tensor]]:
        """Views 1, 2, 1, 2, ... of full batches, (batch_size, C, S, S) each; an incomplete last batch is left out.

        The images are evenly spread over the source and shuffled, so that batches mix the classes of a sorted source.
        """
        indices = np.unique(np.linspace(0, len(self.source) - 1, min(num_images, len(self.source))).astype(int))
        images, row = [], 0
        for index in np.random.default_rng(0).permutation(indices):
            try:
                image = self.source.read(int(index), self.channels)
            except BrokenImageError as error:
                skipped.add(self.source, int(index), str(error))
                continue
            images.append(crops_of(image, self.views.crop, row + len(images), self.num_pairs))
            if len(images) == self.batch_size:
                yield [view for pair in range(self.num_pairs) for view in self._pair(images, pair, row)]
                images, row = [], row + self.batch_size

    def _pair(self, images: list[Crops], pair: int, row: int) -> tuple[Tensor, Tensor]:
        views = self.views.finish(torch.stack([crops(pair) for crops in images]), pair, row)
        return views.view1, views.view2


def crops_of(image: Image, crop: Crop, row: int, num_steps: int) -> Crops:
    """Function from a step to the crops of `image` in `row` of the global batch.

    It stores the crops of all steps, or the image if that is smaller.
    """
    image = np.array(image)  # the original may be read-only
    first = crop(image, 0, row)
    if image.nbytes <= num_steps * first.nbytes:
        return lambda step: crop(image, step, row)
    return [first, *(crop(image, step, row) for step in range(1, num_steps))].__getitem__


def method_encoder(method: Method, *, train: bool) -> Encode:
    """Function that computes `representation`, `projection`, `prediction` and `target`, on a copy of `method`.

    With `train` batch norm uses batch statistics, as in training, else running averages. Without a target network `target`
    is the online projection; without a predictor there is no `prediction`.
    """
    copied = copy.deepcopy(method).train(train)
    target = getattr(copied, "target", None)
    predicts = not isinstance(copied.predictor, nn.Identity)

    def encode(view: Tensor) -> dict[str, Tensor]:
        images = copied.normalize(view)
        representation, projection = copied.online(images)
        encodings = {"representation": representation, "projection": projection}
        if predicts:
            encodings["prediction"] = copied.predictor(projection)
        return encodings | {"target": projection if target is None else target(images)[1]}

    return encode


@torch.no_grad()
def encode_views(
    encode: Encode,
    images: ViewedImages,
    num_images: int,
    device: torch.device,
    skipped: SkippedImages,
    listener: Listener = SILENT,
) -> dict[str, Tensor]:
    """Encodings by name, (N, 2 * num_pairs, D) float32 on the CPU; each batch of one view is a separate forward pass.

    Raises DataError if there are too few images for one batch.
    """
    parts: dict[str, list[Tensor]] = {}
    done = 0
    for views in images.batches(num_images, skipped):
        encodings = [encode(view.to(device)) for view in views]
        for name in encodings[0]:
            parts.setdefault(name, []).append(torch.stack([e[name].float().cpu() for e in encodings], dim=1))
        done += images.batch_size
        listener.work("reading", done, num_images)
    if not parts:
        raise DataError(
            f"{images.source.description} has too few readable images: one batch needs {images.batch_size}."
        )
    return {name: torch.cat(tensors) for name, tensors in parts.items()}
