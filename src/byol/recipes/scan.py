"""Images of one channel whose values are measurements: microscopes, grey scans, DICOM. The recipe `small` with other views.

    byol pretrain --data slices/ --recipe scan --minutes 20

The reason for each value stands beside it; the values themselves are not studied.
"""

from byol.config import ViewConfig
from byol.recipes.recipe import Recipe
from byol.recipes.small import small_with

VIEW = ViewConfig(
    crop_area=(0.4, 1.0),  # milder: a crop that misses the one finding of a scan is another scan
    vertical_flip_probability=0.5,  # most microscopes and surfaces have no up; pictures of patients do: set both to 0
    rotation_probability=0.5,
    jitter_probability=0.0,  # brightness and contrast of photographs: replaced by gain and offset
    band_jitter_probability=0.8,  # as often as the paper's; without it the histogram alone tells images apart (BYOL section 5)
    band_gain=0.4,  # the paper's contrast
    band_offset=0.1,  # a quarter of the paper's brightness, since most scans are dark and 0.4 would clip them
    grayscale_probability=0.0,  # there is no colour
    blur_probability=0.5,  # as in `small`
    noise_probability=0.5,  # exposures of one thing differ by noise, which photographs hide
    noise_sigma=(0.01, 0.05),
)
"""Both views. Neither is solarized: an inverted scan does not occur."""
MEASURED = (
    "2,800 aerial scenes made grey, views of 64 px, SimCLR, 30 passes: kNN 60.7, linear 64.9 on a held-out fifth, 5.2 [4.0, 6.3] and 4.6 [3.5, 5.8] more "
    "than by the views of small (3 seeds; docs/results.md)"
)


def scan() -> Recipe:
    """The recipe `small` with views for one channel: vertical flip, rotation, gain, offset, noise; milder crops.

    Differs from the paper as `small` does, and by the operations that replace brightness, contrast and solarize.
    """
    return small_with(VIEW, MEASURED)
