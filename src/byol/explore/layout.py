"""Preparation of `byol explore`: centred vectors and maps, made from the vectors before its page opens and kept in a file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from byol.errors import RunError
from byol.evaluate.duplicates import centred
from byol.evaluate.kept_features import KEYS, Indices, bytes_of, rows_of
from byol.evaluate.nearest import nearest
from byol.report.embedding_map import FEWEST_POINTS, TSNE, Plane, maps, spectrum
from byol.runtime.listener import SILENT, Listener
from byol.runtime.mapped import read_mapped, write_mapped
from byol.runtime.words import counted

MOST_LAID_OUT = 5000
"""Largest number of images that t-SNE lays out; of more, this many random ones. It is also the largest number for the slow kinds of map."""
LANDMARKS = 5
"""Number of laid out images, beside the most similar one, that the place of another one depends on."""
BLOCK = 16384
MOST_PLACED = 1 / 3
"""Largest share of images that are placed on a map that was drawn without them; of more, it is drawn again."""
MEAN, UNIT, MAP, DRAWN = "mean", "unit", "map", "drawn"
"""Names of the tensors: (D,) mean of the vectors; (N, D) vectors minus it, of length 1; (N, 2) points of the map `map PLACE NAME`; (N,) 1 for images that were there when the maps
were drawn. `KEYS` are those of the images."""


def prepare(
    vectors: Tensor, keys: NDArray[np.void], file: Path, about: str, listener: Listener = SILENT
) -> dict[str, Tensor]:
    """The tensors by name for (N, D) vectors of images with (N,) `keys`: mapped from `file` if it is `about` these, else made and written there.

    On maps that the file has of most of the images the others are placed, so that the maps stay where they were.
    """
    kept, codes = read_mapped(file, about), bytes_of(keys)
    if kept and torch.equal(kept[KEYS], codes):
        return kept
    mean = vectors.mean(dim=0)
    unit = torch.empty(vectors.shape)
    for part, out in zip(vectors.split(BLOCK), unit.split(BLOCK), strict=True):
        out.copy_(centred(part, mean))
    drawn, planes = torch.ones(len(unit), dtype=torch.uint8), {}
    if kept:
        rows = rows_of(kept[KEYS], keys)
        was_drawn = torch.from_numpy(rows >= 0) * kept[DRAWN][rows]
        if planes := _grown(kept, rows, unit, int(was_drawn.sum()), listener):
            drawn = was_drawn
    tensors = {MEAN: mean, UNIT: unit, KEYS: codes, DRAWN: drawn}
    for number, (name, points) in enumerate((planes or draw_maps(unit, listener)).items()):
        tensors[f"{MAP} {number} {name}"] = torch.from_numpy(points)
    try:
        write_mapped(file, about, tensors)
    except RunError as error:
        listener.say(f"the map is not kept for the next time: {error}")
        return tensors
    return read_mapped(file, about) or tensors


def maps_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The maps by name, the best first."""
    return {name.split(" ", 2)[2]: tensors[name] for name in sorted(tensors) if name.startswith(f"{MAP} ")}


def _grown(
    kept: Mapping[str, Tensor], rows: Indices, unit: Tensor, num_drawn: int, listener: Listener
) -> dict[str, Plane]:
    """The kept maps, with those of (N, D) unit vectors placed that have no row there; none if too few of them were there when the maps were drawn."""
    known, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    others = len(unit) - num_drawn
    if num_drawn < FEWEST_POINTS:
        return {}
    if others > MOST_PLACED * len(unit):
        listener.say(f"{others:,} of {len(unit):,} images are new since the map was drawn: it is drawn again")
        return {}
    found = {}
    for name, tensor in maps_in(kept).items():
        points = np.empty((len(unit), 2), np.float32)
        points[known] = tensor.numpy()[rows[known]]
        if len(new):
            points[new] = place(unit[new], unit[known], points[known], listener, f" {name}")
        found[name] = points
    if len(new):
        words = (
            f"{counted(len(new), 'new image')} {'is' if len(new) == 1 else 'are'} placed on the map of {len(known):,}"
        )
        listener.say(f"{words}, each beside the most similar one")
    return found


def draw_maps(unit: Tensor, listener: Listener = SILENT) -> dict[str, Plane]:
    """Maps of (N, D) unit vectors by name, the best first. Of more than `MOST_LAID_OUT` a random part is laid out by t-SNE, and the others are placed beside these."""
    plane = spectrum(unit)[1]
    listener.say(f"drawing the map of {len(unit):,} images")
    if len(unit) <= MOST_LAID_OUT:
        return maps(unit, plane, slow=True, most_points=len(unit), listener=listener)
    listener.say(f"t-SNE lays out {MOST_LAID_OUT:,} of them, which takes about half a minute")
    some = torch.randperm(len(unit), generator=torch.Generator().manual_seed(0))[:MOST_LAID_OUT].sort().values
    drawn = maps(unit[some], plane[some], slow=False, most_points=MOST_LAID_OUT, listener=listener)
    found = {TSNE: place(unit, unit[some], drawn[TSNE], listener)} if TSNE in drawn else {}
    return found | maps(unit, plane, slow=False, most_points=0)


def place(unit: Tensor, landmarks: Tensor, points: Plane, listener: Listener = SILENT, of: str = "") -> Plane:
    """(N, 2) points of (N, D) unit vectors, each beside that of the most similar of the landmarks, (M, D) unit vectors with (M, 2) points, M > `LANDMARKS`.

    The way from there leads towards the mean of the next `LANDMARKS`, over at most half the gap between the landmark and the nearest other one on the map, and over less the more similar
    the landmark is. A landmark stays where it is.
    """
    from scipy.spatial import KDTree

    at, placed = torch.from_numpy(points), []
    gap = torch.from_numpy(KDTree(points).query(points, k=2)[0][:, 1:]).float()
    for part in unit.split(BLOCK):
        cosine, near = nearest(part, landmarks, LANDMARKS + 1)
        distance = (1 - cosine).clamp_min(1e-6)
        weight = functional.normalize(1 / distance[:, 1:], p=1, dim=1)
        start = at[near[:, 0]]
        way = (at[near[:, 1:]] * weight[..., None]).sum(dim=1) - start
        length = way.norm(dim=1, keepdim=True).clamp_min(1e-9)
        most = torch.minimum(length, gap[near[:, 0]]) / 2 * distance[:, :1] / distance[:, 1:2]
        placed.append(start + way / length * most)
        listener.work(f"placing images on the map{of}", sum(map(len, placed)), len(unit))
    return np.asarray(torch.cat(placed))
