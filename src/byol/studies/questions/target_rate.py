"""How slowly should the target network follow the online network?"""

from dataclasses import replace

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, UNTRAINED, Collapse, Contrast, Study, Variant

TABLE = {"tau 0": 0.3, "tau 0.9": 68.4, "tau 0.99": 72.5, "tau 0.999": 69.8, "fixed random target": 18.8}

TARGET_RATE = Study(
    name="target-rate",
    question="How slowly should the target follow the online network?",
    variants=(
        Variant("tau 0", {"method.tau_base": 0.0, "method.tau_schedule": "constant"}, TABLE["tau 0"]),
        Variant("tau 0.9", {"method.tau_base": 0.9}, TABLE["tau 0.9"]),
        Variant("tau 0.99", {"method.tau_base": 0.99}, TABLE["tau 0.99"]),
        Variant("tau 0.999", {"method.tau_base": 0.999}, TABLE["tau 0.999"]),
        Variant("fixed random target", {"method.target": "fixed"}, TABLE["fixed random target"]),
        Variant("tau 0.99 at 4096, scaled to the batch", {"method.tau_base": 0.99, "method.tau_reference_batch": 4096}),
    ),
    shapes=(
        Contrast("tau 0.99 beats a fixed random target", {"tau 0.99": 1, "fixed random target": -1}, 53.7),
        Contrast("tau 0.99 beats tau 0.9", {"tau 0.99": 1, "tau 0.9": -1}, 4.1),
        Contrast("tau 0.99 beats tau 0.999", {"tau 0.99": 1, "tau 0.999": -1}, 2.7),
        Contrast("predicting a fixed random target teaches something", {"fixed random target": 1, UNTRAINED: -1}, 17.4),
        Collapse("tau 0 collapses (the source: with LARS and batches of 4096)", "tau 0"),
        Collapse("a fixed random target does not collapse", "fixed random target", False),
    ),
    scales={
        "tiny": TINY,
        "small": SMALL,
        "paper": replace(
            PAPER, variants=tuple(TABLE)
        ),  # all but the last variant: with a batch of 4096 there is nothing to scale
    },
    source="BYOL Table 5a, section 3",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
    paper_untrained=1.4,
)
