"""Roles of views that differ between source (the online network's input) and target; small, mixed and averaged views.

Designs of asym-siam (arXiv 2204.00613). Differs from the paper, whose two networks see the same two views.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from byol.runtime.view_roles import Roles
from byol.views.policy import ViewPolicy, crop_and_flip
from byol.views.views import Draw, View

Side = Literal["none", "source", "target", "both"]
MIXED_IN, AGAIN, SMALL = 32, 2, 128
"""Numbers of further draws of a step, counted from the view's number (1 or 2); small views are counted from SMALL."""


@dataclass(frozen=True)
class Asymmetry:
    """Settings of the differences between source and target."""

    small_crops: int = 0
    small_size: int = 96
    small_area: tuple[float, float] = (0.05, 0.14)
    scale_mix: Side = "none"
    weak: Side = "none"
    mean: Side = "none"
    strong: Side = "none"


def asymmetric(policy1: ViewPolicy, policy2: ViewPolicy, size: int, asymmetry: Asymmetry) -> Roles[View]:
    """Views 1 and 2 of `size` pixels with the differences that `asymmetry` asks for."""
    sources1, sources2, targets1, targets2 = (
        _views(policy, number, size, side, asymmetry)
        for side in ("source", "target")
        for number, policy in ((1, policy1), (2, policy2))
    )
    small = dataclasses.replace(policy1, crop_area=asymmetry.small_area)
    return Roles(
        sources1,
        sources2,
        () if targets1 == sources1 else targets1,
        () if targets2 == sources2 else targets2,
        tuple(
            View(Draw(small, SMALL + i, asymmetry.small_size, of_partner=i % 2 == 1))
            for i in range(asymmetry.small_crops)
        ),
    )


def _views(policy: ViewPolicy, number: int, size: int, side: Side, asymmetry: Asymmetry) -> tuple[View, ...]:
    """View 1 or 2 as one side sees it, with its second draw if the side averages two. Draws of view 2 have even numbers."""
    a, sides = asymmetry, (side, "both")
    if a.weak in sides:
        policy = crop_and_flip(policy)
    again = number + AGAIN * (1 if side == "source" else 2)
    numbers = (number, again) if a.mean in sides else (number,)

    def drawn(number: int) -> Draw:
        return Draw(policy, number, size, a.strong in sides, of_partner=number % 2 == 0)

    return tuple(View(drawn(n), drawn(n + MIXED_IN) if a.scale_mix in sides else None) for n in numbers)
