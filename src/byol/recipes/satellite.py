"""Aerial and satellite images of any number of bands. The recipe `small` with other views.

    byol pretrain --data tiles/ --recipe satellite --minutes 20

The reason for each value stands beside it; the values themselves are not studied.
"""

from byol.config import ViewConfig
from byol.recipes.recipe import Recipe
from byol.recipes.small import small_with

VIEW = ViewConfig(
    crop_area=(0.4, 1.0),  # milder: a scene is named by what is spread over all of it
    vertical_flip_probability=0.5,  # there is no up: with rotation at 3/4 all eight positions are equally likely
    rotation_probability=0.75,
    jitter_probability=0.0,  # saturation and hue need RGB: replaced by gain and offset
    band_jitter_probability=0.8,  # as often as the paper's; without it the histogram alone tells images apart (BYOL section 5)
    band_gain=0.2,  # half of the paper's contrast: ratios of bands tell what grows or stands there
    band_offset=0.05,  # an eighth of the paper's brightness, since reflectances use the lowest part of their range
    band_drop_probability=0.1,  # no band alone should decide
    grayscale_probability=0.0,  # the bands together are what there is to see
    blur_probability=0.5,  # as in `small`
)
"""Both views. Neither is solarized, since inverted bands do not occur, and neither gets noise, of which averaged scenes have little."""


def satellite() -> Recipe:
    """The recipe `small` with views for N bands: vertical flip, rotation, gain, offset and loss of bands; milder crops.

    Differs from the paper as `small` does, and by the operations that replace colour jitter, grayscale and solarize.
    """
    return small_with(VIEW)
