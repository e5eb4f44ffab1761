"""How sensitive is BYOL to learning rate and weight decay? The variants are multiples of the recipe's values."""

from dataclasses import replace

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, Contrast, Study, Variant

OURS, PAPERS = (0.6, 1e-4), (0.3, 1e-6)
"""(base learning rate, weight decay) of the recipe `sample` and of the paper's 300 epochs."""
RATES = {
    "1/30": (1 / 30, 34.8), "1/3": (1 / 3, 65.0), "2/3": (2 / 3, 71.7), "1": (1, 72.5), "4/3": (4 / 3, 72.3),
    "5/3": (5 / 3, 71.5), "10/3": (10 / 3, 69.4),
}  # fmt: skip
DECAYS = {"0": (0, None), "1/10": (0.1, 72.1), "1/2": (0.5, 72.6), "5": (5, 71.0), "10": (10, 69.6)}

WEIGHT_DECAY_AND_RATE = Study(
    name="weight-decay-and-rate",
    question="How sensitive is BYOL to learning rate and weight decay?",
    variants=(
        *(
            Variant(
                f"rate x{name}",
                {"optimizer.base_learning_rate": OURS[0] * factor},
                value,
                {"optimizer.base_learning_rate": PAPERS[0] * factor},
            )
            for name, (factor, value) in RATES.items()
        ),
        *(
            Variant(
                f"decay x{name}",
                {"optimizer.weight_decay": OURS[1] * factor},
                value,
                {"optimizer.weight_decay": PAPERS[1] * factor},
            )
            for name, (factor, value) in DECAYS.items()
        ),
    ),
    shapes=(
        Contrast("a thirtieth of the rate is worse", {"rate x1": 1, "rate x1/30": -1}, 37.7),
        Contrast("three times the rate is worse", {"rate x1": 1, "rate x10/3": -1}, 3.1),
        Contrast("ten times the decay is worse", {"rate x1": 1, "decay x10": -1}, 2.9),
    ),
    scales={
        "tiny": replace(TINY, variants=("rate x1/30", "rate x1/3", "rate x1", "rate x10/3", "decay x0", "decay x10")),
        "small": SMALL,
        "paper": PAPER,
    },
    source="BYOL Table 15; without decay its trainings diverged or were unstable",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
