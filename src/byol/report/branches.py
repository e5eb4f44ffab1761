"""How steady the encodings of the online and of the target network are over views, of a run with its checkpoint."""

from dataclasses import dataclass

import torch

from byol.build.views import build_views
from byol.data.source import ImageSource
from byol.errors import CheckpointError
from byol.evaluate.branch_measures import NUM_DRAWS, measure_branches
from byol.report.summary import RunSummary

FORWARDS = 8 * NUM_DRAWS
"""Of an encoder, per image: two networks, two views, and again with the views exchanged."""
FEWEST_IMAGES, MOST_IMAGES = 16, 128
MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Branches:
    """Variance over views of unit projections, 0 (all the same) to 1; or why there is none."""

    online: float = 0.0
    target: float = 0.0
    num_images: int = 0
    missing: str = ""


def branches(run: RunSummary, source: ImageSource, device: torch.device, seconds: float, rate: float) -> Branches:
    """Measures up to 128 images, or as many as fit into `seconds` or a minute at `rate` images embedded a second."""
    trained = run.trained
    if trained.own_encoder:
        return Branches(missing="the encoder is a module of one's own, which cannot be rebuilt from its name.")
    allowed = int(rate * min(seconds, MOST_SECONDS) / FORWARDS)
    count, batch = min(MOST_IMAGES, len(source), allowed), trained.images_per_norm
    if count < FEWEST_IMAGES:
        return Branches(missing="it takes too long here, or there are too few images (byol report allows a minute).")
    count -= count % batch if count > batch else 0
    try:
        method = trained.method().to(device)
    except CheckpointError as error:
        return Branches(missing=str(error))
    views = build_views(trained.config)
    measures = measure_branches(method, source, trained.channels, views, batch, device, count)
    return Branches(measures.source_variance, measures.target_variance, count)
