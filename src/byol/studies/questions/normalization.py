"""Which normalisation keeps BYOL from collapsing, and where? Imbue's six rows, group norm, and no normalisation."""

from dataclasses import replace

from byol.studies.study import PAPER, SMALL, TINY, Collapse, Contrast, Study, Variant

BOTH_NONE = {"heads.projector_norm": "none", "heads.predictor_norm": "none"}
GROUP = {
    "encoder.norm": "group",
    "encoder.weight_standardization": True,
    "heads.projector_norm": "group",
    "heads.predictor_norm": "group",
    "heads.weight_standardization": True,
}

NORMALIZATION = Study(
    name="normalization",
    question="Which normalisation, and where, keeps BYOL from collapsing?",
    variants=(
        Variant("batch", {}, 57.7),
        Variant("projector only", {"heads.predictor_norm": "none"}, 55.3),
        Variant("predictor only", {"heads.projector_norm": "none"}, 48.0),
        Variant("none in heads", BOTH_NONE, 28.3),
        Variant("layer in heads", {"heads.projector_norm": "layer", "heads.predictor_norm": "layer"}, 29.4),
        Variant("group, standardised weights", GROUP),
        Variant("contrastive, none in heads", {**BOTH_NONE, "method.name": "simclr"}, 44.1),
        Variant("none anywhere", {**BOTH_NONE, "encoder.norm": "none"}),
        Variant(
            "none anywhere, started from data",
            {
                "encoder.norm": "affine",
                "heads.projector_norm": "affine",
                "heads.predictor_norm": "affine",
                "method.data_init": True,
            },
        ),
    ),
    shapes=(
        Contrast(
            "images differ more with batch norm in both heads than with none there",
            {"none in heads": 1, "batch": -1},
            0.73,
            "negative_cosine",
        ),
        Contrast(
            "images differ more with batch norm in the projector than with it in the predictor",
            {"predictor only": 1, "projector only": -1},
            0.46,
            "negative_cosine",
        ),
        Collapse("no batch norm in the heads collapses early on", "none in heads", scales=("tiny", "small")),
        Collapse("layer norm in the heads collapses early on", "layer in heads", scales=("tiny", "small")),
        Collapse("no batch norm in the heads recovers in a long training", "none in heads", False, scales=("paper",)),
        Collapse("batch norm in both heads does not collapse", "batch", False),
        Collapse("batch norm in the projector alone does not collapse", "projector only", False),
        Collapse(
            "group norm with standardised weights does not collapse (the source: with LARS; with SGD now and then)",
            "group, standardised weights",
            False,
        ),
        Collapse("none anywhere collapses", "none anywhere"),
        Collapse("contrastive learning needs no batch norm", "contrastive, none in heads", False),
        Contrast("batch norm in both heads beats none there", {"batch": 1, "none in heads": -1}, 29.4),
        Contrast("batch norm in both heads beats layer norm there", {"batch": 1, "layer in heads": -1}, 28.3),
    ),
    scales={
        "tiny": replace(
            TINY,
            variants=(
                "batch",
                "projector only",
                "predictor only",
                "none in heads",
                "layer in heads",
                "group, standardised weights",
            ),
        ),
        "small": SMALL,
        "paper": PAPER,
    },
    source="Imbue's post: ResNet-18, STL-10, 10 epochs, SGD (its contrastive row has a queue of negatives)",
    paper_metric="STL-10 linear accuracy, %",
    paper_untrained=28.8,
    paper_training="10 epochs of ResNet-18",
)
