"""What a recipe is: a config, and where its numbers come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from byol.config import Config


@dataclass(frozen=True)
class Size:
    """One of the sizes that a recipe chooses from where a time is given (`--minutes`)."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it changes of the recipe's config."""
    least_images: int = 0
    """Images that have to be trained on, counted with every pass, before it is better than the next smaller one."""


@dataclass(frozen=True)
class Recipe:
    """A complete configuration with its provenance."""

    config: Config
    source: str
    """Where the hyperparameters come from."""
    expected: str
    """The accuracy that the source reports."""
    measured: str
    """What we measured with it, or that we did not."""
    adapts_batch: bool = False
    """Take a smaller batch where there are few images (the paper's recipes never change theirs)."""
    with_weights: Mapping[str, Any] = field(default_factory=dict)
    """What it changes of the config where it starts from weights that were trained elsewhere."""
    sizes: tuple[Size, ...] = ()
    """From large to small, for trainings by time; empty: the config's alone."""
