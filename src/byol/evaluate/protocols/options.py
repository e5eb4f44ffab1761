"""Options of the evaluation protocols. Imports no torch: the command line is made of them."""

from dataclasses import dataclass
from typing import Literal

Budget = Literal["paper", "default", "smoke"]
"""paper: the papers' whole grid; default: fewer settings, 10 epochs and at most 10,000 training images; smoke: seconds."""

PROTOCOLS = {
    "knn": "byol.evaluate.protocols.neighbours:knn",
    "linear": "byol.evaluate.protocols.linear_sgd:linear",
    "linear-fast": "byol.evaluate.protocols.linear_fast:linear_fast",
    "semi": "byol.evaluate.protocols.semi:semi",
    "finetune": "byol.evaluate.protocols.finetune:finetune",
    "supervised": "byol.evaluate.protocols.finetune:supervised",
    "retrieval": "byol.evaluate.protocols.neighbours:retrieval",
    "cluster": "byol.evaluate.protocols.cluster:cluster",
}
"""Name -> module:function."""
PIXELS, HOG = "pixels", "hog"
WITHOUT_WEIGHTS = (PIXELS, HOG)
"""Baselines by name that have nothing to train."""
TRAINS_ENCODER = ("semi", "finetune", "supervised")
"""The protocols that train the encoder, and so ask for one with weights."""


@dataclass(frozen=True)
class KnnOptions:
    """Weighted vote of the nearest neighbours."""

    k: int = 0
    """Neighbours that vote; 0: chosen on validation images."""
    temperature: float = 0.0
    """Temperature of the votes, exp(cosine / temperature); 0: chosen on validation images."""


@dataclass(frozen=True)
class LinearOptions:
    """The paper's linear evaluation by SGD."""

    clip_logits: bool = False
    """Soft clipping of the logits with its penalty (BYOL Table 7 b)."""
    pretraining_views: bool = False
    """Train on the pretraining's augmentations (BYOL Table 7 a)."""


@dataclass(frozen=True)
class SemiOptions:
    """Fine-tuning on a part of the labels."""

    fraction: float = 0.01
    """Share of the training images whose labels are used, the same of every class."""
    per_class: int = 0
    """In place of the fraction: labelled images per class."""
    subset: str = ""
    """In place of both: a file with the names of the labelled images, one per line."""
    from_scratch: bool = False
    """Begin with new weights: the supervised baseline of the same table."""


@dataclass(frozen=True)
class ProtocolOptions:
    """One group per protocol that has options."""

    knn: KnnOptions = KnnOptions()
    linear: LinearOptions = LinearOptions()
    semi: SemiOptions = SemiOptions()
