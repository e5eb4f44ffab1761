"""View distributions by name: T and T' of the paper, and the one for training on labels."""

from dataclasses import fields, replace
from typing import Literal

from byol.runtime.view_policy import T_PRIME, T, ViewPolicy

__all__ = [
    "CROP_AND_FLIP",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "T_PRIME",
    "Semantics",
    "T",
    "ViewKernels",
    "ViewPolicy",
    "crop_and_flip",
]

Semantics = Literal["deepmind", "torchvision"]
ViewKernels = Literal["native", "fused"]
"""Implementation of the views: torch, or on a CPU one C++ operator (views.cpp)."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def crop_and_flip(policy: ViewPolicy) -> ViewPolicy:
    """`policy` with every probability but those of flips and rotation set to 0: without colour, blur and solarize."""
    names = (field.name for field in fields(policy) if field.name.endswith("_probability"))
    kept = {"flip_probability", "vertical_flip_probability", "rotation_probability"}
    return replace(policy, **dict.fromkeys(set(names) - kept, 0.0))


CROP_AND_FLIP = crop_and_flip(T)
"""Views for training on labels: crop and flip alone (BYOL appendix C)."""
