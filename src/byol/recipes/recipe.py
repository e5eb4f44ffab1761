"""What a recipe is: a config, and where its numbers come from."""

from dataclasses import dataclass

from byol.config import Config


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
