"""What source and target branch of a training say of its images, each over the views that it is shown."""

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


@dataclass(frozen=True)
class BranchMeasures:
    """Of a number of images that does not depend on the batch they are encoded in."""

    source_variance: float
    """Mean encoding variance of the online projections over the views, for either distribution (asym-siam)."""
    target_variance: float
    """The same of what they are compared with."""
    watch: CollapseWatch
    """One pair of views of each image: the online projection of view 1, the target's of view 2."""

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
    """Views of 8 training steps of images spread over the source, in train mode and float32, on a copy.

    Batch norm sees micro-batches as in the training. Both branches are shown both views, as the symmetric loss does.
    Small crops, which are further sources, are not counted.
    """
    trained = copy.deepcopy(method).train()
    found: dict[str, list[Tensor]] = {"source1": [], "source2": [], "target1": [], "target2": []}
    for batch in _batches(source, channels, views.crop, micro_batch_size, num_images):
        drawn: dict[str, list[Tensor]] = {name: [] for name in found}
        for step in range(NUM_DRAWS):
            stacked = torch.stack([crops(step) for crops in batch])
            made = replace(views.finish(stacked.to(device), step), small=())
            one, two = trained(made), trained(made.swapped())
            drawn["source1"].append(one.projection1)
            drawn["target2"].append(one.target2)
            drawn["source2"].append(two.projection1)
            drawn["target1"].append(two.target2)
        for name, projections in drawn.items():
            found[name].append(torch.stack([p.float().cpu() for p in projections], dim=1))
    encoded = {name: torch.cat(parts) for name, parts in found.items()}
    variance = {name: encoding_variance(encodings) for name, encodings in encoded.items()}
    return BranchMeasures(
        source_variance=(variance["source1"] + variance["source2"]) / 2,
        target_variance=(variance["target1"] + variance["target2"]) / 2,
        watch=watch(encoded["source1"][:, 0], encoded["target2"][:, 0]),
    )


def _batches(
    source: ImageSource, channels: int, crop: Crop, micro_batch_size: int, num_images: int
) -> Iterator[list[Crops]]:
    """Whole micro-batches, or all images where they are fewer.

    Evenly spread over the source and shuffled, so that a batch of a source sorted by class is not of one class.
    Raises DataError where no image can be decoded.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(num_images, len(source))).astype(int))
    batch, is_first = [], True
    for index in np.random.default_rng(0).permutation(chosen):
        with contextlib.suppress(BrokenImageError):
            batch.append(crops_of(source.read(int(index), channels), crop, len(batch), NUM_DRAWS))
        if len(batch) == micro_batch_size:
            yield batch
            batch, is_first = [], False
    if is_first and not batch:
        raise DataError(f"None of the {len(chosen)} images looked at in {source.description} can be decoded.")
    if is_first:
        yield batch
