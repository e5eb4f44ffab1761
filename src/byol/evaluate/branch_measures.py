"""Measures of a training's source and target branches: variance over views, and collapse."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from byol.data.loader import Crop
from byol.data.source import ImageSource
from byol.diagnostics.collapse import CollapseWatch, watch
from byol.diagnostics.encoding_variance import encoding_variance
from byol.errors import BrokenImageError, DataError
from byol.evaluate.view_encodings import Crops, crops_of
from byol.methods.network import Method
from byol.views.views import Views

NUM_IMAGES, NUM_DRAWS = 256, 8
"""Number of images, and number of draws of both views per image."""


@dataclass(frozen=True)
class BranchMeasures:
    """Measures over a fixed number of images, independent of the batch size."""

    source_variance: float
    """Variance of the online projections over views of one image, mean over both view distributions, in [0, 1] (asym-siam)."""
    target_variance: float
    """Variance of the target projections over views of one image, likewise."""
    watch: CollapseWatch
    """Collapse measures of one pair of views per image: online projection of view 1, target projection of view 2."""

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self.watch), "source_variance": self.source_variance, "target_variance": self.target_variance}


@torch.no_grad()
def measure_branches(
    method: Method,
    source: ImageSource,
    channels: int,
    views: Views,
    micro_batch_size: int,
    device: torch.device,
    num_images: int = NUM_IMAGES,
) -> BranchMeasures:
    """Measures a copy of `method` in train mode and float32, on views of 8 training steps of images spread over `source`.

    Batch norm sees micro-batches as in training. Both branches encode both views, as in the symmetric loss. Small crops
    are left out. Raises DataError if no image can be decoded.
    """
    trained = copy.deepcopy(method).train()
    projections: dict[str, list[Tensor]] = {"source1": [], "source2": [], "target1": [], "target2": []}
    for batch in _batches(source, channels, views.crop, micro_batch_size, num_images):
        draws: dict[str, list[Tensor]] = {name: [] for name in projections}
        for step in range(NUM_DRAWS):
            stacked = torch.stack([crops(step) for crops in batch])
            pair = replace(views.finish(stacked.to(device), step), small=())
            output, swapped = trained(pair), trained(pair.swapped())
            draws["source1"].append(output.projection1)
            draws["target2"].append(output.target2)
            draws["source2"].append(swapped.projection1)
            draws["target1"].append(swapped.target2)
        for name, of_batch in draws.items():
            projections[name].append(torch.stack([p.float().cpu() for p in of_batch], dim=1))
    encodings = {name: torch.cat(parts) for name, parts in projections.items()}
    variance = {name: encoding_variance(encoding) for name, encoding in encodings.items()}
    return BranchMeasures(
        source_variance=(variance["source1"] + variance["source2"]) / 2,
        target_variance=(variance["target1"] + variance["target2"]) / 2,
        watch=watch(encodings["source1"][:, 0], encodings["target2"][:, 0]),
    )


def _batches(
    source: ImageSource, channels: int, crop: Crop, micro_batch_size: int, num_images: int
) -> Iterator[list[Crops]]:
    """Full micro-batches of images, or one of all images if there are fewer.

    The images are evenly spread over the source and shuffled, so that batches mix the classes of a sorted source. Raises
    DataError if no image can be decoded.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, min(num_images, len(source))).astype(int))
    batch, is_first = [], True
    for index in np.random.default_rng(0).permutation(indices):
        with contextlib.suppress(BrokenImageError):
            batch.append(crops_of(source.read(int(index), channels), crop, len(batch), NUM_DRAWS))
        if len(batch) == micro_batch_size:
            yield batch
            batch, is_first = [], False
    if is_first and not batch:
        raise DataError(f"None of {len(indices)} images tried in {source.description} can be decoded.")
    if is_first:
        yield batch
