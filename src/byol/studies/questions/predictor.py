"""Which of predictor, target network and negatives are needed, and when?"""

from dataclasses import replace
from typing import Any

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, Collapse, Contrast, Study, Variant


def _bridge(predictor: str, target: str, beta: float, alpha: float = 0.1) -> dict[str, Any]:
    return {
        "method.name": "infonce",
        "method.beta": beta,
        "method.temperature": alpha,
        "heads.predictor": predictor,
        "method.target": target,
    }


STOPPED = {"method.target": "stop-gradient"}
LEAST_SQUARES = {**STOPPED, "heads.predictor": "least-squares"}
SWEEP = {
    (0.1, 0.01): 72.2, (0.1, 0.1): 72.4, (0.1, 0.3): 72.7, (0.1, 1.0): 72.6, (0.1, 3.0): 72.5, (0.1, 10.0): 72.5,
    (0.5, 0.01): 70.9, (0.5, 0.1): 72.0, (0.5, 0.3): 72.7, (0.5, 1.0): 72.7, (0.5, 3.0): 72.6, (0.5, 10.0): 72.5,
    (1.0, 0.01): 53.9, (1.0, 0.3): 72.7, (1.0, 1.0): 72.7, (1.0, 3.0): 72.6, (1.0, 10.0): 72.6,
}  # fmt: skip
"""Accuracy in the paper by (beta, alpha), with predictor and target network."""
RATES = {0.0: 0.01, 2.0: 62.8, 10.0: 66.6, 20.0: 66.3}
"""Accuracy in the paper by multiple of the predictor's learning rate, with a stop-gradient target."""
BOTH_RATES = {
    1.0: {1.5: 25.7, 5.0: 66.7},
    1.5: {1.0: 1.4, 1.5: 9.2, 2.0: 55.2, 5.0: 61.5, 10.0: 66.0},
    2.0: {1.0: 2.0, 1.5: 5.3, 2.0: 15.8, 5.0: 60.9, 10.0: 66.3},
    5.0: {1.0: 1.5, 1.5: 2.5, 2.0: 2.5, 5.0: 20.5, 10.0: 60.5},
    10.0: {1.0: 0.1, 1.5: 2.1, 2.0: 1.9, 5.0: 2.8, 10.0: 8.3},
}
"""Accuracy in the paper by multiples of the projector's and of the predictor's learning rate, with a stop-gradient target.
Projector 1 holds the predictor's multiples that RATES lacks."""

PREDICTOR = Study(
    name="predictor",
    question="Which of predictor, target network and negatives does the representation need?",
    variants=(
        Variant("predictor, average, beta 0 (BYOL)", _bridge("mlp", "average", 0), 72.5),
        Variant("predictor, average, beta 1", _bridge("mlp", "average", 1), 70.9),
        Variant("none, average, beta 1", _bridge("none", "average", 1), 70.7),
        Variant("none, online, beta 1 (SimCLR)", _bridge("none", "online", 1), 69.4),
        Variant("predictor, stop-gradient, beta 0", _bridge("mlp", "stop-gradient", 0), 5.5),
        Variant("none, average, beta 0", _bridge("none", "average", 0), 0.2),
        Variant("predictor, stop-gradient, beta 1", _bridge("mlp", "stop-gradient", 1), 70.2),
        Variant("none, stop-gradient, beta 1", _bridge("none", "stop-gradient", 1), 69.2),
        Variant("predictor, online, beta 1", _bridge("mlp", "online", 1), 69.1),
        Variant("predictor, online, beta 0", _bridge("mlp", "online", 0), 0.3),
        Variant("none, stop-gradient, beta 0", _bridge("none", "stop-gradient", 0), 0.1),
        Variant("none, online, beta 0", _bridge("none", "online", 0), 0.1),
        *(
            Variant(f"sweep beta {beta:g}, alpha {alpha:g}", _bridge("mlp", "average", beta, alpha), value)
            for (beta, alpha), value in SWEEP.items()
        ),
        Variant(
            "least squares, stop-gradient",
            {**LEAST_SQUARES, "heads.projector_output": 32},  # a batch of 64 determines 128 dimensions exactly
            52.5,
            paper_settings=LEAST_SQUARES,
        ),
        *(
            Variant(f"stop-gradient, predictor's rate x{rate:g}", {**STOPPED, "optimizer.predictor_rate": rate}, value)
            for rate, value in RATES.items()
        ),
        *(
            Variant(
                f"stop-gradient, rates x{projector:g} (projector), x{predictor:g} (predictor)",
                {**STOPPED, "optimizer.projector_rate": projector, "optimizer.predictor_rate": predictor},
                value,
            )
            for projector, row in BOTH_RATES.items()
            for predictor, value in row.items()
        ),
    ),
    shapes=(
        Collapse("BYOL does not collapse", "predictor, average, beta 0 (BYOL)", False),
        Collapse("without the predictor and negatives it collapses", "none, average, beta 0"),
        Collapse(
            "without the average and negatives it collapses (the source: with LARS and batches of 4096)",
            "predictor, stop-gradient, beta 0",
        ),
        Collapse("negatives prevent collapse without predictor", "none, average, beta 1", False),
        Collapse("SimCLR does not collapse", "none, online, beta 1 (SimCLR)", False),
        Contrast(
            "BYOL is ahead of SimCLR",
            {"predictor, average, beta 0 (BYOL)": 1, "none, online, beta 1 (SimCLR)": -1},
            3.1,
        ),
        Contrast(
            "the average helps the contrastive loss too",
            {"none, average, beta 1": 1, "none, online, beta 1 (SimCLR)": -1},
            1.3,
        ),
        Collapse("a predictor ten times as fast replaces the average", "stop-gradient, predictor's rate x10", False),
        Collapse(
            "as fast a projector undoes that",
            "stop-gradient, rates x10 (projector), x10 (predictor)",
            scales=("paper",),
        ),
        Collapse("the best linear predictor replaces the average", "least squares, stop-gradient", False),
    ),
    scales={
        "tiny": replace(
            TINY,
            variants=(
                "predictor, average, beta 0 (BYOL)",
                "predictor, average, beta 1",
                "none, average, beta 1",
                "none, online, beta 1 (SimCLR)",
                "predictor, stop-gradient, beta 0",
                "none, average, beta 0",
            ),
        ),
        "small": SMALL,
        "paper": PAPER,
    },
    source="BYOL Tables 5b, 18, 19, 21, 22, section 5",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
