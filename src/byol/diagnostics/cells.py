"""Measures of feature maps without labels: how many directions the cells use, and how they spread within and between images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from byol.diagnostics.similarity import unit
from byol.diagnostics.spectrum import effective_rank

MOST_CELLS = 4096
"""Largest number of cells whose effective rank is computed, the same number from each image."""


@torch.no_grad()
def measure_cells(maps: Sequence[Tensor], seed: int = 0) -> dict[str, float]:
    """Measures of the unit vectors of the cells of N >= 2 maps (D, h, w), each in float64.

    `effective_rank`: of a random part of the cells. `spread`: mean squared distance of a cell from the mean of all cells, 0 for
    equal cells, 1 at most. It is the sum of `spread_between`, that of the images' means, and `spread_within`, that of
    the cells around their image's mean: each image counts the same. `dimensions`: D.
    """
    cells = [unit(values.detach().cpu().double().flatten(1).T) for values in maps]
    means = torch.stack([part.mean(dim=0) for part in cells])
    between = float((means - means.mean(dim=0)).square().sum(dim=1).mean())
    within = sum(float((part - mean).square().sum(dim=1).mean()) for part, mean in zip(cells, means, strict=True))
    generator, most = torch.Generator().manual_seed(seed), max(1, MOST_CELLS // len(cells))
    some = torch.cat([part[torch.randperm(len(part), generator=generator)[:most]] for part in cells])
    return {
        "effective_rank": effective_rank(some),
        "spread": between + within / len(cells),
        "spread_between": between,
        "spread_within": within / len(cells),
        "dimensions": float(cells[0].shape[1]),
    }
