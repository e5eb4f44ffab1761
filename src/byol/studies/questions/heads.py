"""How deep and how wide must the heads be?"""

from dataclasses import replace

from byol.studies.study import PAPER, PAPERS_ABLATIONS, SMALL, TINY, Collapse, Contrast, Study, Variant

DEPTHS = {
    (1, 1): 61.9, (1, 2): 65.0, (1, 3): 65.7, (2, 1): 71.5, (2, 2): 72.5, (2, 3): 71.4, (3, 1): 71.4, (3, 2): 72.1, (3, 3): 72.1,
}  # fmt: skip
WIDTHS = {16: 69.9, 32: 71.3, 64: 72.2, 128: 72.5, 256: 72.5, 512: 72.6}

VARIANTS = (
    *(
        Variant(f"depth {g}-{q}", {"heads.projector_depth": g, "heads.predictor_depth": q}, value)
        for (g, q), value in DEPTHS.items()
    ),
    *(Variant(f"width {width}", {"heads.projector_output": width}, value) for width, value in WIDTHS.items()),
)


def _all_but(own_width: str) -> tuple[str, ...]:
    """Names of all variants but the width of depth 2-2 at this scale, which is the same training."""
    return tuple(variant.name for variant in VARIANTS if variant.name != own_width)


HEADS = Study(
    name="heads",
    question="How deep must projector and predictor be, and how wide the projection?",
    variants=VARIANTS,
    shapes=(
        Contrast("a projector of two layers beats one", {"depth 2-2": 1, "depth 1-2": -1}, 7.5),
        Contrast("a predictor of two layers beats one", {"depth 2-2": 1, "depth 2-1": -1}, 1.0),
        Collapse("one layer in each head does not collapse", "depth 1-1", False),
        Contrast("a projection of 64 beats 16", {"width 64": 1, "width 16": -1}, 2.3),
    ),
    scales={
        "tiny": replace(TINY, variants=("depth 1-1", "depth 1-2", "depth 2-1", "depth 2-2", "width 16", "width 64")),
        "small": replace(SMALL, variants=_all_but("width 128")),
        "paper": replace(PAPER, variants=_all_but("width 256")),
    },
    source="BYOL Table 14",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
