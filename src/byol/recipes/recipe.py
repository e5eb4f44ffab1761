"""Recipes: a config with the source of its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import Any

from byol.config import Config


@dataclass(frozen=True)
class Size:
    """One of the sizes among which a recipe chooses by the given time (`--minutes`)."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the recipe's config."""
    least_images: int = 0
    """Smallest number of training images, over all passes, from which this size is better than the next smaller one."""
    largest_view: float = inf
    """Largest view size in pixels for which this size is considered."""


@dataclass(frozen=True)
class Recipe:
    """A complete configuration with its provenance."""

    config: Config
    source: str
    """Source of the hyperparameters."""
    expected: str
    """Accuracy that the source reports."""
    measured: str
    """Accuracy that we measured, or a note that we did not measure it."""
    adapts_batch: bool = False
    """Whether the batch size is lowered for few images; the paper's recipes never lower theirs."""
    with_weights: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the config of a run that starts from weights trained elsewhere."""
    sizes: tuple[Size, ...] = ()
    """Sizes from large to small, for trainings by time; empty: the config's only."""
    results: tuple[tuple[int, str], ...] = ()
    """(number of images trained on over all passes, measured result), rising; for trainings by time."""

    def expectation(self, num_images: int) -> str:
        """The measured result whose number of images is nearest to `num_images`, as a sentence; empty if the recipe has none."""
        if not self.results:
            return ""
        fewest = self.results[0][0]
        if num_images < fewest / 2:
            return (
                f"that is less than the {fewest:,} images of our shortest measured training: give more time if you can"
            )
        count, result = min(self.results, key=lambda known: abs(log(known[0] / num_images)))
        return f"nearest measured training, on {count:,} images in all passes: {result}"
