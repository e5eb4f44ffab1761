"""Handcrafted features: baselines that a trained encoder should beat."""

import torch
from torch import Tensor, nn
from torch.nn import functional

CELLS = 8
"""Number of cells along each side of the image."""
CELL_SIDE = 8
"""Side of a cell in pixels, in maps."""
ORIENTATIONS = 9
LEVELS = 4
"""Number of levels per channel in the colour histogram."""
MOST_CHANNELS = 4
"""Largest number of image channels: the joint colour histogram has 4^C bins."""


PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Fractions of the pixels below the percentiles among the statistics."""


class Statistics(nn.Module):
    """Encoder by the mean, the standard deviation and five percentiles of each band: (N, C, S, S) in [0, 1] -> (N, 7 C).

    On satellite images of many bands the statistics alone tell most kinds of land apart.
    """

    def forward(self, views: Tensor) -> Tensor:
        bands = views.flatten(2)
        percentiles = bands.quantile(bands.new_tensor(PERCENTILES), dim=2).permute(1, 2, 0)
        return torch.cat((bands.mean(2), bands.std(2, correction=0), percentiles.flatten(1)), dim=1)


def num_statistics(channels: int) -> int:
    """Number of statistics of images with this number of channels."""
    return (2 + len(PERCENTILES)) * channels


class Handcrafted(nn.Module):
    """Encoder by handcrafted features: (N, C, S, S) in [0, 1] -> (N, 1764 + 4^C), S a multiple of 8.

    The features are two vectors of unit length: histograms of oriented gradients in blocks of 2 x 2 cells,
    contrast-normalised (Dalal and Triggs 2005: 9 unsigned orientations, L2-Hys), and the square root of the joint colour
    histogram.
    """

    strides = (CELL_SIDE,)

    def forward(self, views: Tensor) -> Tensor:
        gradients = functional.normalize(oriented_gradients(views), dim=1)
        return torch.cat((gradients, colours(views).sqrt()), dim=1)

    def maps(self, views: Tensor) -> list[Tensor]:
        """The map of cells of 8 x 8 px: (N, C, H, W) in [0, 1] -> (N, 36 + 4^C, H / 8, W / 8).

        Each cell's gradients are normalised by the energy of its four blocks of 2 x 2 cells (Felzenszwalb et al. 2010).
        """
        cells = functional.avg_pool2d(_votes(views), CELL_SIDE)
        energy = functional.pad(cells.square().sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        blocks = 4 * functional.avg_pool2d(energy, 2, stride=1)
        corners = [blocks[..., top : top + cells.shape[2], left : left + cells.shape[3]] for top in (0, 1) for left in (0, 1)]  # fmt: skip
        gradients = torch.cat([(cells / (corner + 1e-6).sqrt()).clamp(max=0.2) for corner in corners], dim=1)
        (count, channels), (rows, columns) = views.shape[:2], cells.shape[2:]
        patches = functional.unfold(views, CELL_SIDE, stride=CELL_SIDE).transpose(1, 2)
        shares = colours(patches.reshape(-1, channels, CELL_SIDE, CELL_SIDE)).sqrt()
        shares = shares.view(count, rows, columns, -1).permute(0, 3, 1, 2)
        return [torch.cat((functional.normalize(gradients, dim=1), shares), dim=1)]


def num_handcrafted(channels: int) -> int:
    """Number of features for images with this number of channels."""
    return (CELLS - 1) ** 2 * 4 * ORIENTATIONS + LEVELS**channels


def oriented_gradients(views: Tensor) -> Tensor:
    """Histograms of all blocks: (N, C, S, S) -> (N, 7 * 7 * 36)."""
    cells = functional.avg_pool2d(_votes(views), views.shape[-1] // CELLS)
    blocks = functional.unfold(cells, 2)  # (N, 4 * 9, 7 * 7)
    return _unit(_unit(blocks).clamp(max=0.2)).flatten(1)


def _votes(views: Tensor) -> Tensor:
    """Gradient by orientation at each pixel: (N, C, H, W) -> (N, 9, H, W). Each pixel uses its channel with the largest gradient."""
    padded = functional.pad(views, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strongest = (across.square() + down.square()).argmax(dim=1, keepdim=True)
    across, down = across.gather(1, strongest), down.gather(1, strongest)
    size = torch.hypot(across, down)
    position = torch.atan2(down, across).remainder(torch.pi) * (ORIENTATIONS / torch.pi) - 0.5
    lower = position.floor()
    votes = views.new_zeros(len(views), ORIENTATIONS, *views.shape[2:])
    for bin, weight in ((lower, 1 - (position - lower)), (lower + 1, position - lower)):
        votes.scatter_add_(1, bin.long().remainder(ORIENTATIONS), size * weight)
    return votes


def _unit(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(dim=1, keepdim=True) + 1e-6).sqrt()


def colours(views: Tensor) -> Tensor:
    """Joint colour histogram: (N, C, S, S) -> (N, 4^C) fractions of the pixels."""
    levels = (views * LEVELS).long().clamp(0, LEVELS - 1).flatten(2)
    joint = levels[:, 0]
    for channel in levels.unbind(1)[1:]:
        joint = joint * LEVELS + channel
    counts = views.new_zeros(len(views), LEVELS ** views.shape[1])
    return counts.scatter_add_(1, joint, torch.ones_like(joint, dtype=views.dtype)) / joint.shape[1]
