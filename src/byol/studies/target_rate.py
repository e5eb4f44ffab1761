"""How slowly should the target follow?"""

from byol.studies.study import PAPER, SMALL, TINY, Collapse, Contrast, Study, Variant

TARGET_RATE = Study(
    name="target-rate",
    question="How slowly should the target follow the online network?",
    variants=(
        Variant("tau 0", {"method.tau_base": 0.0, "method.tau_schedule": "constant"}, 0.3),
        Variant("tau 0.9", {"method.tau_base": 0.9}, 68.4),
        Variant("tau 0.99", {"method.tau_base": 0.99}, 72.5),
        Variant("tau 0.999", {"method.tau_base": 0.999}, 69.8),
        Variant("fixed random target", {"method.target": "fixed"}, 18.8),
        Variant("tau 0.99 at 4096, scaled to the batch", {"method.tau_base": 0.99, "method.tau_reference_batch": 4096}),
    ),
    shapes=(
        Contrast("tau 0.99 beats a fixed random target", {"tau 0.99": 1, "fixed random target": -1}, 5.0),
        Contrast("tau 0.99 beats tau 0.9", {"tau 0.99": 1, "tau 0.9": -1}, 4.1),
        Contrast("tau 0.99 beats tau 0.999", {"tau 0.99": 1, "tau 0.999": -1}, 2.7),
        Collapse("tau 0 collapses", "tau 0"),
        Collapse("a fixed random target does not collapse", "fixed random target", False),
    ),
    scales={"tiny": TINY, "small": SMALL, "paper": PAPER},
    source="BYOL Table 5a",
    paper_metric="ImageNet linear top-1, %",
)
