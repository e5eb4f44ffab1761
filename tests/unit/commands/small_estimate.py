"""An estimate of a training that takes a second."""

import numpy as np

from byol.assembly.settings import Asked
from byol.commands.doctor import Estimate, estimate
from byol.config import Config, replaced
from byol.data.arrays import ArrayImages
from byol.data.source import ImageSource
from byol.recipes import recipe
from tests.conftest import SMALL

CONFIG = replaced(recipe("small").config, {**SMALL, "epochs": 2})
PICTURES = ArrayImages(np.random.default_rng(0).integers(0, 255, (64, 16, 16, 3), dtype=np.uint8))


def estimated(source: ImageSource, config: Config) -> Estimate:
    return estimate(source, Asked(config, recipe("small"), frozenset(SMALL)), epochs_are_final=False)
