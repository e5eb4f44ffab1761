"""The paper's linear transfer: multinomial logistic regression on cached features (BYOL appendix D.2, SimCLR B.8)."""

import numpy as np
from torch import Tensor

from byol.evaluate.features import labels_of
from byol.evaluate.linear import fit_linear
from byol.evaluate.metrics import mean_average_precision, mean_per_class, top_5
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.evaluate.scores import Score, accuracy

PAPER_STRENGTHS = tuple(10 ** (5 - 11 * step / 44) for step in range(45))
"""45 L2 strengths log-spaced in [1e-6, 1e5], strong to weak; each fit starts from the previous one's weights."""
STRENGTHS = {"paper": PAPER_STRENGTHS, "default": PAPER_STRENGTHS[::4], "smoke": PAPER_STRENGTHS[20:40:8]}
VALIDATION_SHARE = 0.1


def linear_fast(job: Job) -> Outcome:
    """Accuracy of a linear probe; for images with several labels, its 11-point mean average precision.

    The L2 strength is chosen on the data set's validation images, or on a tenth of the training images; then the probe is
    fitted to all training images.

    Differs from the paper: features are centred and divided by one number, their overall scale.
    """
    parts = job.held_out(VALIDATION_SHARE)
    bank, queries = job.features("train"), job.features("test")
    strengths = STRENGTHS[job.budget]
    if job.label_sets is None:
        labels, truth = labels_of(bank), labels_of(queries)
    else:
        labels, truth = job.label_sets[0][bank.indices], job.label_sets[1][queries.indices]
    split = [np.flatnonzero(np.isin(bank.indices.numpy(), part)) for part in parts]
    probe = fit_linear(bank.vectors, labels, strengths=strengths, split=(split[0], split[1]))
    scores = probe.scores(queries.vectors)
    return Outcome(
        metrics=_metrics(scores, truth),
        settings={
            "l2_strength": probe.strength,
            "strengths": list(strengths),
            "validation_images": len(split[1]),
            "objective": f"mean {'cross-entropy' if labels.dim() == 1 else 'logistic loss'} + strength / 2 |W|^2",
            "features": "centred, divided by their overall scale",
        },
        differs=job.differs(
            "the central 7/8 of each image, or all of it where it and the views are at most 96 px",
            "features centred and scaled",
        ),
        extras={
            "validation": [{"strength": s, "accuracy": a} for s, a in zip(strengths, probe.validation, strict=True)]
        },
    )


def _metrics(scores: Tensor, truth: Tensor) -> dict[str, Score]:
    if truth.dim() == 2:
        return {"11-point mAP": mean_average_precision(scores, truth)}
    correct = scores.argmax(dim=1) == truth
    return {
        "top-1": accuracy(correct),
        **top_5(scores, truth),
        "mean per class": mean_per_class(correct, truth),
    }
