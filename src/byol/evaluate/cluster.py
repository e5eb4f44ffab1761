"""Clusters of features without labels, and how well they agree with the classes."""

import torch
from torch import Tensor
from torch.nn import functional

from byol.errors import DataError
from byol.evaluate.features import labels_of
from byol.evaluate.metrics import bootstrap, normalized_mutual_information
from byol.evaluate.protocol import Job, Outcome

RESTARTS = 5


def cluster(job: Job) -> Outcome:
    """Normalised mutual information of k-means on the test images' unit features with their classes, k as many.

    Raises DataError where the test images are of one class, with which every clustering agrees.
    """
    features = job.features("test")
    labels, unit = labels_of(features), functional.normalize(features.vectors, dim=1)
    k = int(labels.unique().numel())
    if k < 2:
        raise DataError(
            f"cluster needs test images of at least two classes; {job.test.description} has one. Leave the protocol out, "
            "or name other test images."
        )
    found = [spherical_kmeans(unit, k, job.seed + start) for start in range(1 if job.budget == "smoke" else RESTARTS)]
    tightness = [float((unit * centres[number]).sum()) for number, centres in found]
    number = found[tightness.index(max(tightness))][0]
    score = bootstrap(
        lambda rows: normalized_mutual_information(number[rows], labels[rows]), len(labels), job.seed, resamples=200
    )
    return Outcome(
        metrics={"NMI": score},
        settings={"k": k, "starts": len(found), "seed": job.seed, "interval": "bootstrap over the images"},
        differs="the paper has no clustering protocol",
    )


def spherical_kmeans(unit: Tensor, k: int, seed: int, steps: int = 50) -> tuple[Tensor, Tensor]:
    """((N,) cluster of each unit vector, (k, D) unit centres): Lloyd's steps by cosine from a k-means++ start."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(unit), (1,), generator=generator))]
    closest = unit @ unit[chosen[0]]
    for _ in range(k - 1):
        distance = (1 - closest).clamp_min(0) + 1e-9
        chosen.append(int(torch.multinomial(distance, 1, generator=generator)))
        closest = torch.maximum(closest, unit @ unit[chosen[-1]])
    centres = unit[chosen]
    cluster = (unit @ centres.T).argmax(dim=1)
    for _ in range(steps):
        sums = torch.zeros_like(centres).index_add_(0, cluster, unit)
        empty = sums.norm(dim=1) == 0
        centres = torch.where(empty[:, None], centres, functional.normalize(sums, dim=1))
        before, cluster = cluster, (unit @ centres.T).argmax(dim=1)
        if torch.equal(before, cluster):
            break
    return cluster, centres
