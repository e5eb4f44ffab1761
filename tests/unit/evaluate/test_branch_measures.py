"""Measures of the branches."""

import numpy as np
import pytest
import torch

from byol.data.arrays import ArrayImages
from byol.errors import BrokenImageError, DataError
from byol.evaluate.branch_measures import measure_branches
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair


def test_branches_of_images_that_cannot_be_read_are_one_sentence() -> None:
    class Torn(ArrayImages):
        def read(self, index: int, channels: int, short_side: int = 0) -> np.ndarray:
            raise BrokenImageError("torn")

    views = Views(pair(T, T_PRIME, 8), 4, seed=0)
    source = Torn(np.zeros((4, 8, 8, 3), np.uint8), description="torn images")
    with pytest.raises(DataError, match="None of 4 images tried in torn images can be decoded"):
        measure_branches(torch.nn.Identity(), source, 3, views, 2, torch.device("cpu"))  # pyright: ignore[reportArgumentType]
