"""How much does each method depend on each augmentation? The study needs colour images."""

from dataclasses import replace
from typing import Any

from byol.studies.study import (
    PAPER,
    PAPERS_ABLATIONS,
    SIMCLRS_HEADS,
    SMALL,
    TINY_COLOUR,
    Collapse,
    Contrast,
    Study,
    Variant,
)


def _both(**settings: float) -> dict[str, Any]:
    return {f"views.{view}.{name}": value for view in ("view1", "view2") for name, value in settings.items()}


NO_COLOUR = _both(jitter_probability=0.0, grayscale_probability=0.0)
NO_BLUR = _both(blur_probability=0.0)
NO_FLIP = _both(flip_probability=0.0)
NO_SOLARIZE = _both(solarize_probability=0.0)
REMOVED = {
    "all": ({}, 72.5, 67.9),
    "no flip": (NO_FLIP, 71.9, 67.3),
    "no blur": (NO_BLUR, 71.2, 65.2),
    "no colour": (NO_COLOUR, 63.4, 45.7),
    "no jitter": (_both(jitter_probability=0.0), 71.8, 63.7),
    "no grayscale": (_both(grayscale_probability=0.0), 70.3, 61.9),
    "no blur in T'": ({"views.view2.blur_probability": 0.0}, 72.4, 67.5),
    "no solarize in T'": ({"views.view2.solarize_probability": 0.0}, 72.3, 67.7),
    "no blur or solarize in T'": (
        {"views.view2.blur_probability": 0.0, "views.view2.solarize_probability": 0.0},
        72.2,
        67.4,
    ),
    "symmetric": (_both(blur_probability=0.5, solarize_probability=0.2), 72.5, 68.1),
    "crop only": ({**NO_FLIP, **NO_COLOUR, **NO_BLUR, **NO_SOLARIZE}, 59.4, 40.3),
    "crop and flip": ({**NO_COLOUR, **NO_BLUR, **NO_SOLARIZE}, 60.1, 40.2),
    "crop and colour": ({**NO_FLIP, **NO_BLUR, **NO_SOLARIZE}, 70.7, 64.2),
    "crop and blur": ({**NO_FLIP, **NO_COLOUR, **NO_SOLARIZE}, 61.1, 41.7),
}
TINY_SET = ("all", "no colour", "crop only")

AUGMENTATIONS = Study(
    name="augmentations",
    question="Which augmentations do BYOL and SimCLR need?",
    variants=tuple(
        Variant(
            f"{method} {name}",
            {**row[0], "method.name": method},
            row[column],
            {**row[0], "method.name": method, **heads},
        )
        for column, method, heads in ((1, "byol", {}), (2, "simclr", SIMCLRS_HEADS))
        for name, row in REMOVED.items()
    ),
    shapes=(
        Contrast("BYOL loses without colour", {"byol all": 1, "byol no colour": -1}, 9.1),
        Contrast(
            "SimCLR loses more than BYOL without colour",
            {"simclr all": 1, "simclr no colour": -1, "byol all": -1, "byol no colour": 1},
            13.1,
        ),
        Contrast(
            "SimCLR loses more than BYOL with crops alone",
            {"simclr all": 1, "simclr crop only": -1, "byol all": -1, "byol crop only": 1},
            14.5,
        ),
        Collapse("BYOL does not collapse with crops alone", "byol crop only", False),
        Contrast("colour is worth more than blur to BYOL", {"byol no blur": 1, "byol no colour": -1}, 7.8),
    ),
    scales={
        "tiny": replace(TINY_COLOUR, variants=tuple(f"{m} {name}" for m in ("byol", "simclr") for name in TINY_SET)),
        "small": SMALL,
        "paper": PAPER,
    },
    source="BYOL Table 17",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
    needs_colour=True,
)
