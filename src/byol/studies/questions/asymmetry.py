"""Does it help if the target varies less than the source? Five designs, each on source, target and both."""

from dataclasses import replace

from byol.studies.study import PAPER, SMALL, TINY, Contrast, Study, Variant

LARGE_CROPS = {"views.view1.crop_area": (0.25, 1.0), "views.view2.crop_area": (0.25, 1.0)}
SMALL_CROPS = {
    **LARGE_CROPS,
    "asymmetry.small_crops": 6,
    "asymmetry.small_size": 24,
    "asymmetry.small_area": (0.05, 0.25),
}
COMPUTE_OF_SMALL_CROPS = 1 + 6 * 3 / 8 * (24 / 32) ** 2
"""Relative cost of an image with small crops at 32 px. Without them it has two passes with gradient (cost 3 each) and two
without (cost 1 each); six small crops add six passes with gradient."""
FEWER = "MultiCrop, source, at equal compute"
PAPER_CROPS = {
    "views.view1.crop_area": (0.14, 1.0),
    "views.view2.crop_area": (0.14, 1.0),
    "asymmetry.small_crops": 6,
}
SIDED = {
    "ScaleMix": ("asymmetry.scale_mix", "source", 67.6),
    "RandAugment": (
        "asymmetry.strong_augmentation",
        "source",
        None,
    ),  # its table has only the combination with the next: 67.2
    "crop and flip alone": ("asymmetry.weak_augmentation", "target", None),
    "batch norm in parts": ("asymmetry.split_batch_norm", "source", 66.3),
    "mean of two views": ("asymmetry.mean_encoding", "target", 67.7),
}
"""(setting, side where the paper applies it, accuracy there) of each design. For batch norm in parts, the paper's target
has statistics over more images than its source; its baseline has parts of the batch on both sides."""
AUGMENTED = "RandAugment, source; crop and flip alone, target"
IN_COLOUR = ("RandAugment",)
"""Designs that need colour images, which scale tiny does not have."""

VARIANTS = (
    Variant("none", {}, 65.8),
    Variant("MultiCrop, source", SMALL_CROPS, 69.9, PAPER_CROPS),
    Variant(FEWER, SMALL_CROPS, passes=1 / COMPUTE_OF_SMALL_CROPS),
    Variant(AUGMENTED, {"asymmetry.strong_augmentation": "source", "asymmetry.weak_augmentation": "target"}, 67.2),
    *(
        Variant(f"{design}, {side}", {setting: side}, value if side == own else None)
        for design, (setting, own, value) in SIDED.items()
        for side in ("source", "target", "both")
    ),
)

ASYMMETRY = Study(
    name="asymmetry",
    question="Does it help where the target's encodings vary less than the source's?",
    variants=VARIANTS,
    shapes=(
        Contrast("MultiCrop at the source helps", {"MultiCrop, source": 1, "none": -1}, 4.1),
        Contrast("MultiCrop helps at equal compute, too", {FEWER: 1, "none": -1}, None, scales=("tiny", "small")),
        Contrast("ScaleMix at the source helps", {"ScaleMix, source": 1, "none": -1}, 1.8),
        Contrast("a stronger source and a weaker target help", {AUGMENTED: 1, "none": -1}, 1.4),
        Contrast("weak augmentation of the target helps", {"crop and flip alone, target": 1, "none": -1}, None),
        Contrast(
            "batch norm over more images at the target helps",
            {"batch norm in parts, source": 1, "batch norm in parts, both": -1},
            0.5,
        ),
        Contrast("two target views help", {"mean of two views, target": 1, "none": -1}, 1.9),
        Contrast("ScaleMix belongs to the source", {"ScaleMix, source": 1, "ScaleMix, target": -1}, 1.8),
        Contrast(
            "the mean belongs to the target", {"mean of two views, target": 1, "mean of two views, source": -1}, 1.9
        ),
        *(
            Contrast(
                f"{design} makes the target vary less", {"none": 1, f"{design}, target": -1}, None, "target_variance"
            )
            for design in ("crop and flip alone", "mean of two views")
        ),
        *(
            Contrast(
                f"{design} makes the source vary more", {f"{design}, source": 1, "none": -1}, None, "source_variance"
            )
            for design in ("ScaleMix", "RandAugment", "batch norm in parts")
        ),
    ),
    scales={
        "tiny": replace(
            TINY,
            variants=(
                "none",
                FEWER,
                *(f"{design}, {row[1]}" for design, row in SIDED.items() if design not in IN_COLOUR),
            ),
        ),
        "small": SMALL,
        "paper": replace(PAPER, variants=tuple(v.name for v in VARIANTS if v.name != FEWER)),
    },
    source="asym-siam's table: MoCo v2, ResNet-50, 100 epochs (MultiCrop takes twice the time there)",
    paper_metric="ImageNet linear top-1, %",
    paper_training="100 epochs of MoCo v2 with ResNet-50",
)
