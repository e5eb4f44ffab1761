"""Variance over views of the online and the target network of a run, from its newest checkpoint."""

from dataclasses import dataclass

import torch

from byol.assembly.views import build_views
from byol.data.source import ImageSource
from byol.errors import CheckpointError
from byol.evaluate.branch_measures import NUM_DRAWS, measure_branches
from byol.report.summary import RunSummary

FORWARDS = 8 * NUM_DRAWS
"""Forward passes of an encoder per image: two networks, two views, and again with the views exchanged."""
FEWEST_IMAGES, MOST_IMAGES = 16, 128
"""Smallest and largest number of images to measure."""
MOST_SECONDS = 60.0
"""Largest time of the measurement in seconds."""


@dataclass(frozen=True)
class Branches:
    """Variance over views of unit projections, from 0 (all views equal) to 1; or the reason why it is missing."""

    online: float = 0.0
    target: float = 0.0
    num_images: int = 0
    missing: str = ""
    """Reason; empty if it was measured."""


def branches(run: RunSummary, source: ImageSource, device: torch.device, seconds: float, rate: float) -> Branches:
    """Measures up to 128 images, as many as fit into `seconds` and into one minute. `rate`: embedded images per second."""
    trained = run.trained
    if trained.own_encoder:
        return Branches(missing="the encoder is a module that the user built, which cannot be rebuilt from its name.")
    allowed = int(rate * min(seconds, MOST_SECONDS) / FORWARDS)
    count, batch = min(MOST_IMAGES, len(source), allowed), trained.images_per_norm
    if count < FEWEST_IMAGES:
        return Branches(missing="there are too few images, or the time was too short (byol report allows one minute).")
    count -= count % batch if count > batch else 0
    try:
        method = trained.method().to(device)
    except CheckpointError as error:
        return Branches(missing=str(error))
    views = build_views(trained.config)
    measures = measure_branches(method, source, trained.channels, views, batch, device, count)
    return Branches(measures.source_variance, measures.target_variance, count)
