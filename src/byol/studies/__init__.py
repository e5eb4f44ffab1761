"""Studies by name: each a file that holds one `Study`. Imports no torch."""

from byol.errors import ConfigError, nearest
from byol.studies.asymmetry import ASYMMETRY
from byol.studies.augmentations import AUGMENTATIONS
from byol.studies.batch_size import BATCH_SIZE
from byol.studies.heads import HEADS
from byol.studies.loss_normalization import LOSS_NORMALIZATION
from byol.studies.normalization import NORMALIZATION
from byol.studies.predictor import PREDICTOR
from byol.studies.study import Study
from byol.studies.target_rate import TARGET_RATE
from byol.studies.weight_decay_and_rate import WEIGHT_DECAY_AND_RATE

STUDIES = {
    study.name: study
    for study in (
        NORMALIZATION,
        BATCH_SIZE,
        AUGMENTATIONS,
        TARGET_RATE,
        PREDICTOR,
        HEADS,
        LOSS_NORMALIZATION,
        ASYMMETRY,
        WEIGHT_DECAY_AND_RATE,
    )
}


def find_study(name: str) -> Study:
    """The study called `name`. Raises ConfigError with the nearest name."""
    if name not in STUDIES:
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.{nearest(name, STUDIES)}")
    return STUDIES[name]
