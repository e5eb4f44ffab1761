"""Vectors as points of a plane, and how many directions they use."""

from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Plane = NDArray[np.float32]
"""(N, 2), within [-1, 1]."""


def spectrum(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """((K,) shares of the variance by principal axis, falling; (N, 2) coordinates along the first two).

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


def maps(vectors: Tensor, plane: Tensor, *, slow: bool, seed: int = 0) -> dict[str, Plane]:
    """Maps of (N, D) vectors by name, the best first. `plane`: the first two principal coordinates.

    `slow` adds t-SNE and UMAP where scikit-learn and umap-learn are installed; they see unit vectors.
    """
    found: dict[str, Plane] = {}
    unit = torch.nn.functional.normalize(vectors.float(), dim=1).numpy()
    if slow and len(unit) > 50 and find_spec("sklearn"):
        from sklearn.manifold import TSNE

        found["t-SNE"] = _scaled(TSNE(init="pca", random_state=seed).fit_transform(unit))
    if slow and len(unit) > 50 and find_spec("umap"):
        from umap import UMAP

        found["UMAP"] = _scaled(np.asarray(UMAP(random_state=seed, n_jobs=1).fit_transform(unit)))
    return found | {"PCA": _scaled(plane.numpy())}


def _scaled(points: NDArray) -> Plane:
    centred = points - (points.min(axis=0) + points.max(axis=0)) / 2
    return (centred / max(float(np.abs(centred).max()), 1e-12)).astype(np.float32)
