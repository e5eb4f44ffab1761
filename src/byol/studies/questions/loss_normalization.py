"""Which normalisation of its vectors does the loss need?"""

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, Collapse, Contrast, Study, Variant

LOSS_NORMALIZATION = Study(
    name="loss-normalization",
    question="Which normalisation of the vectors does the loss need?",
    variants=tuple(
        Variant(name, {"method.loss_normalization": name}, value)
        for name, value in (("l2", 72.5), ("layer", 72.5), ("batch", 65.3), ("none", 67.4))
    ),
    shapes=(
        Contrast("unit length beats none", {"l2": 1, "none": -1}, 5.1),
        Contrast("unit length beats batch norm", {"l2": 1, "batch": -1}, 7.2),
        Contrast("layer norm beats batch norm", {"layer": 1, "batch": -1}, 7.2),
        *(Collapse(f"{name} does not collapse", name, False) for name in ("l2", "layer", "batch", "none")),
    ),
    scales={"tiny": TINY, "small": SMALL, "paper": PAPER},
    source="BYOL Table 20",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
