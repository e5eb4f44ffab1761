"""Options of the evaluation protocols. This module imports no torch, because the command line is built from it."""

from dataclasses import dataclass
from typing import Literal

Budget = Literal["paper", "default", "smoke"]
"""Amount of computation. paper: the papers' whole grid. default: fewer settings, 10 epochs, at most 10,000 training images.
smoke: a test that takes seconds."""

PROTOCOLS = {
    "knn": "byol.evaluate.protocols.neighbours:knn",
    "linear": "byol.evaluate.protocols.linear_sgd:linear",
    "linear-fast": "byol.evaluate.protocols.linear_fast:linear_fast",
    "few-labels": "byol.evaluate.protocols.few_labels:few_labels",
    "semi": "byol.evaluate.protocols.semi:semi",
    "finetune": "byol.evaluate.protocols.finetune:finetune",
    "supervised": "byol.evaluate.protocols.finetune:supervised",
    "retrieval": "byol.evaluate.protocols.neighbours:retrieval",
    "cluster": "byol.evaluate.protocols.cluster:cluster",
}
"""Function of each protocol for labelled images by name, as module:function."""
WITH_MASKS = {
    "segment": "byol.evaluate.protocols.segment:segment",
    "segment-knn": "byol.evaluate.protocols.segment:segment_knn",
    "segment-finetune": "byol.evaluate.protocols.segment_finetune:segment_finetune",
}
"""Function of each protocol for images with masks."""
WITH_DEPTHS = {"depth": "byol.evaluate.protocols.depth:depth"}
"""Function of each protocol for images with depths."""
EVERY = {**PROTOCOLS, **WITH_MASKS, **WITH_DEPTHS}
"""Function of each protocol."""
PIXELS, HOG, STATISTICS = "pixels", "hog", "statistics"
"""Names of the baselines by raw pixels, by gradients and colours, and by the statistics of each band."""
WITHOUT_WEIGHTS = (PIXELS, HOG, STATISTICS)
"""Names of baselines that have no weights to train."""
TRAINS_ENCODER = ("semi", "finetune", "supervised")
"""Protocols that train the encoder and so need one with weights."""


@dataclass(frozen=True)
class KnnOptions:
    """Options of the weighted kNN vote."""

    k: int = 0
    """Number of neighbours that vote; 0: chosen on validation images."""
    temperature: float = 0.0
    """Temperature of the vote weights exp(cosine / temperature); 0: chosen on validation images."""


@dataclass(frozen=True)
class LinearOptions:
    """Options of the paper's linear evaluation by SGD."""

    clip_logits: bool = False
    """Soft clipping of the logits with its penalty (BYOL Table 7 b)."""
    pretraining_views: bool = False
    """Train on the pretraining's augmentations (BYOL Table 7 a)."""


@dataclass(frozen=True)
class FewLabelsOptions:
    """Options of the linear probe on few labels."""

    per_class: int = 10
    """Number of labelled images per class."""


@dataclass(frozen=True)
class SemiOptions:
    """Options of fine-tuning on a part of the labels."""

    fraction: float = 0.01
    """Fraction of the training images whose labels are used, the same for every class, in (0, 1]."""
    per_class: int = 0
    """Number of labelled images per class, instead of the fraction; 0: the fraction is used."""
    subset: str = ""
    """File with the names of the labelled images, one per line, instead of fraction and number per class."""
    from_scratch: bool = False
    """Start from random weights: the supervised baseline of the same table."""


@dataclass(frozen=True)
class MapOptions:
    """Options of feature maps."""

    stage: int = 0
    """Stage of the maps: 1 is the first, -1 the last. 0: the last one with a stride of at most 16 px."""
    size: int = 0
    """Short side in px to which images are resized. 0: as in the training."""


@dataclass(frozen=True)
class SegmentOptions(MapOptions):
    """Options of segmentation."""

    ignore: int = 255
    """Label in the masks that is left out, beside 255."""


@dataclass(frozen=True)
class DepthOptions(MapOptions):
    """Options of depth."""

    scale: float = 0.0
    """Number of units in a metre, such as 1000 for millimetres or 256 for KITTI. 0: 1000 for whole numbers, 1 for floats."""


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of all protocols that have any."""

    knn: KnnOptions = KnnOptions()
    linear: LinearOptions = LinearOptions()
    few_labels: FewLabelsOptions = FewLabelsOptions()
    semi: SemiOptions = SemiOptions()
    segment: SegmentOptions = SegmentOptions()
    depth: DepthOptions = DepthOptions()
