"""View distributions T and T' (BYOL Table 6): probabilities and strengths. `config` holds them, `views` draws from them; no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewPolicy:
    """One view distribution, T by default (BYOL Table 6)."""

    crop_area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of the crop, as a fraction of the image."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest aspect ratio (width / height) of the crop, drawn log-uniformly."""
    flip_probability: float = 0.5
    """Probability of a horizontal flip."""
    jitter_probability: float = 0.8
    """Probability that brightness, contrast, saturation and hue are changed."""
    brightness: float = 0.4
    """Largest change of brightness."""
    contrast: float = 0.4
    """Largest change of contrast."""
    saturation: float = 0.2
    """Largest change of saturation (RGB only)."""
    hue: float = 0.1
    """Largest change of hue, in turns (RGB only)."""
    grayscale_probability: float = 0.2
    """Probability of losing all colour (RGB only)."""
    blur_probability: float = 1.0
    """Probability of Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest blur, in pixels of the view."""
    solarize_probability: float = 0.0
    """Probability that values from the threshold on are inverted."""
    solarize_threshold: float = 0.5
    """Value from which solarize inverts, in [0, 1]."""
    vertical_flip_probability: float = 0.0
    """Probability of a vertical flip. Differs from the paper if not 0."""
    rotation_probability: float = 0.0
    """Probability of a rotation by 90, 180 or 270 degrees. Differs from the paper if not 0."""
    band_jitter_probability: float = 0.0
    """Probability that the gain and the offset of each channel are changed, each by an amount of its own. Differs from the paper if not 0."""
    band_gain: float = 0.2
    """Largest change of a channel's gain, the factor on its values."""
    band_offset: float = 0.1
    """Largest offset of a channel, which is added to its values in [0, 1]."""
    band_drop_probability: float = 0.0
    """Probability, for each channel, that all its values become 0. At least one channel stays. Differs from the paper if not 0."""
    noise_probability: float = 0.0
    """Probability of Gaussian noise. Differs from the paper if not 0."""
    noise_sigma: tuple[float, float] = (0.01, 0.05)
    """Smallest and largest standard deviation of the noise, for values in [0, 1]."""


T = ViewPolicy()
T_PRIME = ViewPolicy(blur_probability=0.1, solarize_probability=0.2)
