"""Vectors as points of a plane, and how many directions they use."""

from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Plane = NDArray[np.float32]
"""(N, 2), within [-1, 1]."""
FEWEST_FOR_TSNE = 100


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


def maps(unit: Tensor, plane: Tensor, *, slow: bool, seed: int = 0) -> dict[str, Plane]:
    """Maps of (N, D) unit vectors by name, the best first. `plane`: their first two principal coordinates.

    `slow` adds t-SNE, where scikit-learn is installed. The axes of PCA are scaled one by one, to fill the plane.
    """
    found: dict[str, Plane] = {}
    if slow and len(unit) >= FEWEST_FOR_TSNE and find_spec("sklearn"):
        from sklearn.manifold import TSNE

        points = TSNE(init="pca", random_state=seed).fit_transform(unit.numpy())
        found["t-SNE"] = _centred(points) / np.abs(_centred(points)).max()
    centred = _centred(plane.numpy())
    return found | {"PCA": centred / np.abs(centred).max(axis=0).clip(min=1e-12)}


def _centred(points: NDArray) -> Plane:
    return (points - (points.min(axis=0) + points.max(axis=0)) / 2).astype(np.float32)
