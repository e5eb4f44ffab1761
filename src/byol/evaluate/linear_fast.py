"""Transfer by a linear probe: multinomial logistic regression on cached features (BYOL appendix D.2, SimCLR B.8)."""

from byol.evaluate.features import labels_of
from byol.evaluate.linear import fit_linear
from byol.evaluate.metrics import mean_per_class, top_k
from byol.evaluate.protocol import Job, Outcome
from byol.evaluate.scores import accuracy

PAPER_STRENGTHS = tuple(10 ** (5 - 11 * step / 44) for step in range(45))
"""45 L2 strengths log-spaced in [1e-6, 1e5], strong to weak, so that each fit starts from the one before."""
STRENGTHS = {"paper": PAPER_STRENGTHS, "default": PAPER_STRENGTHS[::4], "smoke": PAPER_STRENGTHS[20:40:8]}
VALIDATION_SHARE = 0.1


def linear_fast(job: Job) -> Outcome:
    """Accuracy of the probe whose strength does best on a tenth of the training images, fitted to all of them.

    Differs from the paper: features are centred and divided by one number, their overall scale.
    """
    bank, queries = job.features("train"), job.features("test")
    labels, truth = labels_of(bank), labels_of(queries)
    strengths = STRENGTHS[job.budget]
    probe = fit_linear(bank.vectors, labels, seed=job.seed, strengths=strengths, validation_share=VALIDATION_SHARE)
    scores = probe.scores(queries.vectors)
    correct = scores.argmax(dim=1) == truth
    return Outcome(
        metrics={
            "top-1": accuracy(correct),
            "top-5": top_k(scores, truth, 5),
            "mean per class": mean_per_class(correct, truth),
        },
        settings={
            "l2_strength": probe.strength,
            "strengths": list(strengths),
            "validation_share": VALIDATION_SHARE,
            "objective": "mean cross-entropy + strength / 2 |W|^2",
            "features": "centred, divided by their overall scale",
        },
        differs=job.differs("features centred and scaled"),
        extras={
            "validation": [{"strength": s, "accuracy": a} for s, a in zip(strengths, probe.validation, strict=True)]
        },
    )
