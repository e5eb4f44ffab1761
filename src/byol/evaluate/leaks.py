"""Test images that training images repeat, by the vectors that an evaluation has anyway."""

from torch.nn import functional

from byol.data.pixel_measures import small_pictures
from byol.data.source import ImageSource
from byol.evaluate.duplicates import CROWD, POSSIBLE, Surroundings, correlations, is_near
from byol.evaluate.features import Features
from byol.evaluate.nearest import nearest

MOST_COMPARED = 4e9
"""Largest number of pairs of a test and a training image that are compared."""
MOST_READ = 2000
"""Largest number of test images that are read again, with the nearest training image of each; nearest ones first."""


def count_leaks(train: ImageSource, bank: Features, test: ImageSource, queries: Features) -> int | None:
    """Number of test images that are near-duplicates of their nearest training images; None if there are too many images to compare.

    Vectors propose the pairs, small grey pictures decide (`evaluate.duplicates`).
    """
    if len(queries.vectors) * len(bank.vectors) > MOST_COMPARED:
        return None
    units = [functional.normalize(features.vectors, dim=1) for features in (queries, bank)]
    surroundings = Surroundings(*nearest(units[0], units[1], min(CROWD, len(bank.vectors))))
    closest, place = surroundings.cosine[:, 0], surroundings.place[:, 0]
    possible = (closest >= surroundings.least(POSSIBLE)).nonzero()[:, 0]
    rows = possible[closest[possible].argsort(descending=True, stable=True)][:MOST_READ]
    if not len(rows):
        return 0
    ours = small_pictures(test, queries.indices[rows].numpy())
    theirs = small_pictures(train, bank.indices[place[rows]].numpy())
    return int(is_near(closest[rows], correlations(ours, theirs), surroundings).sum())
