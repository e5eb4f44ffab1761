"""Depth from frozen maps: a linear regression of the log depth of each cell."""

import numpy as np
from numpy.typing import NDArray

from byol.data.depths import DepthImages, tell_depths
from byol.errors import DataError
from byol.evaluate.depth import (  # fmt: skip
    METRICS,
    Moments,
    Ridge,
    cell_depths,
    depth_errors,
    depth_scores,
    predict_depth,
    sum_errors,
)
from byol.evaluate.protocols.dense import held_out, map_settings, maps_of, sources
from byol.evaluate.protocols.protocol import Job, Outcome

STRENGTHS = {
    "paper": tuple(10.0 ** (step / 2) for step in range(4, -13, -1)),
    "default": tuple(10.0**step for step in range(1, -7, -1)),
    "smoke": (0.1, 0.001),
}
"""Ridge strengths to try, by budget, in units of the features' mean variance."""


def depth(job: Job) -> Outcome:
    """Errors of the depth of every pixel by a linear regression on the cells of frozen maps.

    It minimises the squared error of the cells' mean log depths, weighted by their known pixels, plus an L2 penalty. The
    strength is chosen by the share of pixels with delta < 1.25 on the data's validation images, or on a tenth of the
    training images; then all are fitted. Log depths of the cells are interpolated to the image's size. Errors are over all
    known pixels.
    Differs from the paper: a linear regression on frozen maps, where the paper fine-tunes four up-projection blocks with the
    reverse Huber loss on crops of 304 x 228 px.
    """
    train, test = sources(job, DepthImages)
    job.listener.say(tell_depths(train))
    fitted, validation = held_out(job, len(train))
    strengths = STRENGTHS[job.budget]
    chosen_on = train.part(validation, train.description)
    known = _moments(job, train.part(fitted, train.description), "reading training maps")
    tried = known.ridge(strengths)
    sums = _sums(job, chosen_on, tried, "choosing the strength")
    shares = [float(depth_errors(part.sum(axis=0))[0]) for part in sums]
    if np.isnan(shares).all():
        raise DataError(f"{train.description}: the validation images hold no known depth, so that no strength can be chosen.")  # fmt: skip
    best = int(np.nanargmax(shares))
    ridge = known.plus(_moments(job, chosen_on, "reading validation maps")).ridge(strengths)[best]
    tested = _sums(job, test, [ridge], "measuring depths")[0]
    end = best in (0, len(strengths) - 1) and len(strengths) > 2
    return Outcome(
        metrics=depth_scores(tested, job.seed),
        settings={
            "l2_strength": strengths[best],
            **map_settings(job, job.options.depth),
            "validation_images": len(validation),
            "strengths": list(strengths),
            "units_in_a_metre": job.options.depth.scale or "1000 for whole numbers, 1 for floats",
            "objective": "mean squared error of log depth, each known pixel by its cell, + strength * mean variance * |W|^2",
        },
        differs=job.differs("a linear regression on frozen maps, where the paper fine-tunes up-projection blocks"),
        caution=f"the best strength, {strengths[best]:g}, is the {'highest' if best == 0 else 'lowest'} of those tried" if end else "",
        extras={"validation": [{"strength": s, METRICS[0]: share} for s, share in zip(strengths, shares, strict=True)]},
    )  # fmt: skip


def _moments(job: Job, source: DepthImages, work: str) -> Moments:
    """The sums of the cells with a known depth. Raises DataError if there is none."""
    moments: Moments | None = None
    for index, values in maps_of(job, source, job.options.depth, work):
        width, rows, columns = values.shape
        logs, counts = cell_depths(source.depth(index), rows, columns)
        moments = moments or Moments.empty(width)
        if bool((known := counts > 0).any()):
            moments.add(values.flatten(1).T[known], logs[known], counts[known])
    if moments is None or moments.highest < moments.lowest:
        raise DataError(f"{source.description} has no known depth: every pixel is 0, negative or not finite.")
    return moments


def _sums(job: Job, source: DepthImages, ridges: list[Ridge], work: str) -> NDArray[np.float64]:
    """(ridges, N, 6) sums of each image, as `sum_errors` gives them; zeros for an image that cannot be decoded."""
    sums = np.zeros((len(ridges), len(source), 6))
    for index, values in maps_of(job, source, job.options.depth, work):
        truth, cells = source.depth(index), values.flatten(1).T
        for number, ridge in enumerate(ridges):
            logs = ridge.logs(cells).view(values.shape[1:])
            sums[number, index] = sum_errors(predict_depth(logs, *truth.shape), truth)
    return sums
