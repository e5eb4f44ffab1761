"""Maps of feature vectors in the plane, and the spectrum of their variance."""

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from byol.runtime.listener import SILENT, Listener

Plane = NDArray[np.float32]
"""Points of a map, (N, 2) within [-1, 1]."""
TSNE = "t-SNE"
FEWEST_POINTS, MOST_POINTS = 20, 2000
"""Smallest and default largest number of images on the t-SNE map. Of more images, only the first are laid out."""
QUICK_POINTS = 1000
"""Largest number of images on the t-SNE map of the report at the end of a training, which has a few seconds."""
ITERATIONS = 500
"""Iterations of t-SNE: 2,000 images take 4 s on one core, and more keep hardly more neighbours (docs/decisions.md)."""
FEWEST_FOR_SLOW = 100
"""Smallest number of images for the slow maps."""
Drawing = Callable[[NDArray, int], NDArray]
"""Function from (N, D) unit vectors and a seed to (N, 2) points."""


def spectrum(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components: ((K,) fractions of the variance, falling; (N, 2) coordinates on the first two axes).

    K is the smaller of N and D.
    """
    centred = (vectors - vectors.mean(dim=0)).float()
    count, width = centred.shape
    wide = width > count
    gram = centred @ centred.T if wide else centred.T @ centred
    values, axes = torch.linalg.eigh(gram)
    values, axes = values.flip(0).clamp_min(0), axes.flip(1)[:, :2]
    plane = axes * values[:2].sqrt() if wide else centred @ axes
    if plane.shape[1] == 1:
        plane = torch.cat((plane, torch.zeros_like(plane)), dim=1)
    return values / values.sum().clamp_min(1e-30), plane


def maps(
    unit: Tensor,
    plane: Tensor,
    *,
    slow: bool,
    most_points: int = MOST_POINTS,
    seed: int = 0,
    listener: Listener = SILENT,
) -> dict[str, Plane]:
    """Maps of (N, D) unit vectors by name, the best first. `plane`: their first two principal coordinates.

    The first is t-SNE, of at most the first `most_points` vectors. `slow` adds the SLOW_MAPS whose library is installed. A map that
    fails is left out, and the listener receives a line. The two axes of PCA are scaled separately, to fill the plane.
    """
    points_by_map: dict[str, Plane] = {}
    wanted = {TSNE: ("sklearn", _tsne)} if len(unit) >= FEWEST_POINTS and most_points else {}
    wanted |= {name: entry for name, entry in SLOW_MAPS.items() if slow and len(unit) >= FEWEST_FOR_SLOW}
    for name, (library, draw) in wanted.items():
        if find_spec(library) is None:
            continue
        vectors = unit[:most_points] if name == TSNE else unit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # they concern the library, and the reader of the page cannot change them
                points = _centred(draw(vectors.numpy(), seed))
            if not np.isfinite(points).all():
                raise ValueError("its points are not finite, perhaps because all vectors are equal")
            points_by_map[name] = points / np.abs(points).max().clip(min=1e-12)
        except Exception as error:  # an error in the library costs only this map
            listener.say(f"The {name} map is missing because {library} failed: {type(error).__name__}: {error}")
    centred = _centred(plane.numpy())
    return points_by_map | {"PCA": centred / np.abs(centred).max(axis=0).clip(min=1e-12)}


def _tsne(unit: NDArray, seed: int) -> NDArray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(unit) - 1) / 3)
    with threadpool_limits(1):  # its threads wait for each other in every iteration, which is slow beside other work
        drawing = TSNE(init="pca", perplexity=perplexity, max_iter=ITERATIONS, random_state=seed)
        return drawing.fit_transform(unit)


def _umap(unit: NDArray, seed: int) -> NDArray:
    from umap import UMAP  # pyright: ignore[reportMissingImports]

    return UMAP(random_state=seed, n_jobs=1).fit_transform(unit)


def _pacmap(unit: NDArray, seed: int) -> NDArray:
    from pacmap import PaCMAP  # pyright: ignore[reportMissingImports]

    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns about every seed
    return PaCMAP(random_state=seed).fit_transform(unit)


SLOW_MAPS: dict[str, tuple[str, Drawing]] = {
    "UMAP": ("umap", _umap),
    "PaCMAP": ("pacmap", _pacmap),
}
"""(library, function) by name of the map, for maps that take minutes or come with large libraries."""


def _centred(points: NDArray) -> Plane:
    return (points - (points.min(axis=0) + points.max(axis=0)) / 2).astype(np.float32)
