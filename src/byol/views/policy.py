"""Probabilities and strengths of the two view distributions (BYOL Table 6)."""

from dataclasses import dataclass, fields, replace
from typing import Literal

Semantics = Literal["deepmind", "torchvision"]
ViewKernels = Literal["native", "fused"]
"""Implementation of the views: torch, or on a CPU one C++ operator (views.cpp)."""


@dataclass(frozen=True)
class ViewPolicy:
    """One view distribution. Fields as in `byol.config.ViewConfig`; the defaults are the paper's T."""

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_probability: float = 0.2
    blur_probability: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_probability: float = 0.0
    solarize_threshold: float = 0.5


def crop_and_flip(policy: ViewPolicy) -> ViewPolicy:
    """`policy` with every probability but the flip's set to 0: without colour, blur and solarize."""
    names = (field.name for field in fields(policy) if field.name.endswith("_probability"))
    return replace(policy, **dict.fromkeys(set(names) - {"flip_probability"}, 0.0))


T = ViewPolicy()
CROP_AND_FLIP = crop_and_flip(T)
"""Views for training on labels: crop and flip alone (BYOL appendix C)."""
T_PRIME = ViewPolicy(blur_probability=0.1, solarize_probability=0.2)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
