"""Do these views suit these images? What is known to go wrong, before anything is trained."""

import torch

from byol.config import Config, ViewConfig
from byol.data.profile import DataProfile
from byol.views.blur import gaussian_kernel, kernel_radius

MOST_BLUR = 0.02
"""Share of a view's side: twice the paper's strongest, 2 of 224 pixels."""
SMALLEST_CROP = 12
"""In pixels of the image."""


def view_warnings(config: Config, seen: DataProfile) -> list[str]:
    """A sentence for each way in which the views of a resolved config do not suit the images."""
    views, found = config.views, []
    sides = {"view1": views.view1, "view2": views.view2}
    if views.size > 2 * seen.short_side:
        found.append(
            f"Views of {views.size} px are made from images of {seen.short_side} px, so that most of a view is "
            f"enlargement. Set --views.size {max(8, seen.short_side)} unless you mean it."
        )
    if seen.short_side >= 3 * views.size and not views.antialias:
        found.append(
            f"Images of {seen.short_side} px are sampled down to {views.size} px without antialiasing, as the paper "
            f"does: fine patterns turn into noise. --views.antialias avoids it."
        )
    for name, view in sides.items():
        found += _blur(name, view, views.size) + _crop(name, view, seen.short_side)
    colours = any(v.grayscale_probability or (v.jitter_probability and (v.hue or v.saturation)) for v in sides.values())
    if colours and seen.channels != 3:
        found.append(
            f"The images have {seen.channels} channel{'s' if seen.channels > 1 else ''}: saturation, hue and grayscale "
            f"do nothing to them. Brightness, contrast and crops are all that makes views differ in value."
        )
    if colours and seen.channels == 3 and _is_grey(seen):
        found.append(
            "The three channels are alike: if these are grey images stored as colour, saturation, hue and grayscale do nothing."
        )
    if not any(v.grayscale_probability or v.jitter_probability for v in sides.values()):
        found.append(
            "No view changes colours, so that the colour histogram alone can tell images apart (BYOL section 5)."
        )
    return found


def _blur(name: str, view: ViewConfig, size: int) -> list[str]:
    radius = kernel_radius(size)
    if not view.blur_probability:
        return []
    if radius == 0:
        return [
            f"{name}: views of {size} px are below 20, where the paper's blur has a kernel of one pixel and does nothing."
        ]
    places = torch.arange(-radius, radius + 1, dtype=torch.float32)
    strongest = float((gaussian_kernel(torch.tensor([view.blur_sigma[1]]), radius)[0] * places.square()).sum().sqrt())
    if size > 48 or strongest <= MOST_BLUR * size:
        return []
    return [
        f"{name}: a blur of up to {strongest:.1f} px on a view of {size} px takes away detail that such small images need; "
        f"recipes for them leave it out. Set --views.{name}.blur-probability 0."
    ]


def _crop(name: str, view: ViewConfig, short_side: int) -> list[str]:
    smallest = view.crop_area[0] ** 0.5 * short_side
    if smallest >= SMALLEST_CROP:
        return []
    area = min(1.0, (SMALLEST_CROP / short_side) ** 2)
    return [
        f"{name}: the smallest crops are {smallest:.0f} px wide, of {short_side}, and may miss what the image shows. "
        f"Set --views.{name}.crop-area {area:.2f} 1."
    ]


def _is_grey(seen: DataProfile) -> bool:
    return max(seen.mean) - min(seen.mean) < 1e-3 and max(seen.std) - min(seen.std) < 1e-3
