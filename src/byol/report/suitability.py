"""Warnings about views that do not suit the images, before a training."""

import torch

from byol.config import Config, ViewConfig
from byol.data.profile import DataProfile
from byol.runtime.words import counted
from byol.views.blur import gaussian_kernel, kernel_radius

MOST_BLUR = 0.02
"""Strongest blur without a warning, as a fraction of a view's side: twice the paper's strongest, 2 of 224 pixels."""
SMALLEST_CROP = 12
"""Smallest crop without a warning, in pixels of the image."""


def view_warnings(config: Config, profile: DataProfile) -> list[str]:
    """Warnings about the views of a resolved config, one sentence each."""
    views, warnings = config.views, []
    sides = {"view1": views.view1, "view2": views.view2}
    if views.size > 2 * profile.short_side:
        warnings.append(
            f"Views of {views.size} px are made from images of {profile.short_side} px, so most of a view is "
            f"enlarged. Set --views.size {max(8, profile.short_side)} unless this is intended."
        )
    if profile.short_side >= 3 * views.size and not views.antialias:
        warnings.append(
            f"Images of {profile.short_side} px are reduced to {views.size} px without antialiasing, as in "
            f"the paper: fine patterns become noise. Set --views.antialias to avoid it."
        )
    for name, view in sides.items():
        warnings += _blur(name, view, views.size) + _crop(name, view, profile.short_side)
    colours = any(v.grayscale_probability or (v.jitter_probability and (v.hue or v.saturation)) for v in sides.values())
    if colours and profile.channels != 3:
        warnings.append(
            f"The images have {counted(profile.channels, 'channel')}: saturation, hue and grayscale "
            f"have no effect. Views differ only in brightness, contrast, blur, solarization and crops."
        )
    if colours and profile.channels == 3 and _is_grey(profile):
        warnings.append(
            "The three channels are equal: if these are grey images stored as colour images, saturation, hue and grayscale have no effect."
        )
    changes = ("grayscale_probability", "jitter_probability", "band_jitter_probability", "band_drop_probability")
    if not any(getattr(view, change) for view in sides.values() for change in changes):
        warnings.append(
            "No view changes colours, so the encoder can tell images apart by their colour histogram alone (BYOL section 5)."
        )
    return warnings


def _blur(name: str, view: ViewConfig, size: int) -> list[str]:
    radius = kernel_radius(size)
    if not view.blur_probability:
        return []
    if radius == 0:
        return [
            f"{name}: views of {size} px are below 20 px, where the kernel of the paper's blur has one pixel and no effect."
        ]
    places = torch.arange(-radius, radius + 1, dtype=torch.float32)
    strongest = float((gaussian_kernel(torch.tensor([view.blur_sigma[1]]), radius)[0] * places.square()).sum().sqrt())
    if size > 48 or strongest <= MOST_BLUR * size:
        return []
    return [
        f"{name}: a blur of up to {strongest:.1f} px on views of {size} px removes detail that such small images need. "
        f"Recipes for small images do not blur. Set --views.{name}.blur-probability 0."
    ]


def _crop(name: str, view: ViewConfig, short_side: int) -> list[str]:
    smallest = view.crop_area[0] ** 0.5 * short_side
    if smallest >= SMALLEST_CROP:
        return []
    area = min(1.0, (SMALLEST_CROP / short_side) ** 2)
    return [
        f"{name}: the smallest crops are {smallest:.0f} px wide in images of {short_side} px and may miss the object. "
        f"Set --views.{name}.crop-area {area:.2f} 1."
    ]


def _is_grey(profile: DataProfile) -> bool:
    return max(profile.mean) - min(profile.mean) < 1e-3 and max(profile.std) - min(profile.std) < 1e-3
