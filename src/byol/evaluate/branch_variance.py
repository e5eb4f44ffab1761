"""How much source and target encodings of an image vary, each over the views that its own branch is shown."""

import contextlib
import copy

import torch

from byol.data.source import ImageSource
from byol.diagnostics.encoding_variance import encoding_variance
from byol.errors import BrokenImageError
from byol.methods.network import Method
from byol.views.asymmetric import AsymmetricViews
from byol.views.two_views import TwoViews

NUM_IMAGES, NUM_DRAWS = 256, 8


@torch.no_grad()
def branch_variance(
    method: Method,
    source: ImageSource,
    channels: int,
    views: TwoViews | AsymmetricViews,
    micro_batch_size: int,
    device: torch.device,
    num_images: int = NUM_IMAGES,
) -> tuple[float, float]:
    """(source, target) encoding variance over 8 training steps' views of the first images, by micro-batches.

    Source: the online projection of view 1; target: what view 2 is compared with; in train mode and float32, on a copy.
    Small crops, which are further sources, are not counted.
    """
    trained = copy.deepcopy(method).train()
    images = []
    for index in range(min(num_images, len(source))):
        with contextlib.suppress(BrokenImageError):
            images.append(source.read(index, channels).copy())
    sources, targets = [], []
    size = min(micro_batch_size, len(images))
    for start in range(0, len(images) - size + 1, size):
        batch = images[start : start + size]
        outputs = []
        for step in range(NUM_DRAWS):
            crops = torch.stack([views.crop(image, step, row) for row, image in enumerate(batch)])
            view1, view2, *others = views.finish(crops.to(device), step)
            outputs.append(trained(view1, view2, None, *others))
        sources.append(torch.stack([output.projection1.float().cpu() for output in outputs], dim=1))
        targets.append(torch.stack([output.target2.float().cpu() for output in outputs], dim=1))
    return encoding_variance(torch.cat(sources)), encoding_variance(torch.cat(targets))
