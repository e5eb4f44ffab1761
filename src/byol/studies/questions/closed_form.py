"""Can a linear predictor be computed rather than trained, and what do the average and weight decay do for it?"""

from dataclasses import replace
from typing import Any

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, Collapse, Contrast, Study, Variant


def _predictor(kind: str, **settings: Any) -> dict[str, Any]:
    return {"heads.predictor": kind, **{f"heads.{name}": value for name, value in settings.items()}}


STOPPED = {"method.target": "stop-gradient"}
UNDECAYED = {"optimizer.weight_decay": 0.0}
PAPERS = {"neumann": 71.8, "visser": 71.6, "newton-schulz": 72.0, "newton-schulz-2": 72.2}
"""Accuracy in Richemond et al. 2023 at the best ridge, by kind of predictor."""

CLOSED_FORM = Study(
    name="closed-form",
    question="Can a linear predictor be computed from the projections' correlation, in place of training it?",
    variants=(
        Variant("two layers", _predictor("mlp"), 72.5),
        Variant("linear", _predictor("linear"), 71.5),
        Variant("DirectPred", _predictor("directpred"), 72.4),
        Variant("Stiefel", _predictor("stiefel"), 72.1),
        Variant("linear, stop-gradient", _predictor("linear") | STOPPED),
        Variant("DirectPred, stop-gradient", _predictor("directpred") | STOPPED),
        Variant("DirectCopy", _predictor("directcopy", predictor_ridge=0.25), 71.5),
        Variant("DirectCopy, no ridge", _predictor("directcopy", predictor_ridge=0.0), 48.3),
        *(Variant(kind, _predictor(kind), accuracy) for kind, accuracy in PAPERS.items()),
        Variant(
            "least squares",
            _predictor("least-squares", projector_output=32),  # a batch of 64 determines 128 dimensions exactly
            paper_settings=_predictor("least-squares"),
        ),
        Variant("two layers, stop-gradient", _predictor("mlp") | STOPPED, 5.5),
        Variant("linear, no weight decay", _predictor("linear") | UNDECAYED),
        Variant("DirectPred, no weight decay", _predictor("directpred") | UNDECAYED),
    ),
    shapes=(
        Contrast("DirectPred beats a linear predictor by gradient", {"DirectPred": 1, "linear": -1}, 2.5),
        Contrast("the Stiefel predictor beats a linear one by gradient", {"Stiefel": 1, "linear": -1}, 0.6),
        Contrast("two layers beat a linear predictor by gradient", {"two layers": 1, "linear": -1}, 1.0),
        Collapse("DirectPred does not collapse", "DirectPred", False),
        Collapse("the Stiefel predictor does not collapse", "Stiefel", False),
        Collapse("a linear predictor by gradient needs no average", "linear, stop-gradient", False),
        Contrast("the average helps a linear predictor", {"linear": 1, "linear, stop-gradient": -1}, 1.7),
        Contrast("DirectCopy needs its ridge", {"DirectCopy": 1, "DirectCopy, no ridge": -1}, 23.2),
        Contrast("a least-squares predictor is far behind DirectPred", {"DirectPred": 1, "least squares": -1}, 37.2),
        Contrast("weight decay helps a linear predictor", {"linear": 1, "linear, no weight decay": -1}, 3.5),
    ),
    scales={
        "tiny": replace(
            TINY,
            variants=(
                "two layers",
                "linear",
                "DirectPred",
                "Stiefel",
                "linear, stop-gradient",
                "DirectPred, stop-gradient",
            ),
        ),
        "small": SMALL,
        "paper": PAPER,
    },
    source="Richemond et al. 2023 (2302.04817) at 300 epochs, Tian et al. 2021 (2102.06810) Tables 1 to 3 and 9, BYOL Table 5b",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
