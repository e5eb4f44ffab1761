"""Spherical k-means against scikit-learn."""

import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from byol.evaluate.kmeans import spherical_kmeans


def test_kmeans_is_as_tight_as_scikit_learns() -> None:
    unit = functional.normalize(torch.randn(200, 6, generator=torch.Generator().manual_seed(1)))
    cluster, centres = spherical_kmeans(unit, 5, seed=0)
    ours = float((unit * centres[cluster]).sum(dim=1).mean())
    theirs = KMeans(5, n_init=10, random_state=0).fit(unit.numpy()).cluster_centers_
    other = functional.normalize(torch.from_numpy(theirs))
    assert ours > float((unit @ other.T).amax(dim=1).mean()) - 0.02
