"""Clustering protocol: agreement of spherical k-means with the classes."""

from torch.nn import functional

from byol.errors import DataError
from byol.evaluate.features import labels_of
from byol.evaluate.kmeans import RESTARTS, spherical_kmeans
from byol.evaluate.metrics import bootstrap, normalized_mutual_information
from byol.evaluate.protocols.protocol import Job, Outcome


def cluster(job: Job) -> Outcome:
    """Normalised mutual information between classes and k-means clusters of the test images; k is the number of classes.

    Raises DataError if the test images have one class, with which every clustering agrees.
    """
    features = job.features("test")
    labels, unit = labels_of(features), functional.normalize(features.vectors, dim=1)
    k = int(labels.unique().numel())
    if k < 2:
        raise DataError(
            f"cluster needs test images of at least two classes; {job.test.description} has one. Leave the protocol out, "
            "or give other test images."
        )
    starts = range(1 if job.budget == "smoke" else RESTARTS)
    clusterings = [spherical_kmeans(unit, k, job.seed + start) for start in starts]
    tightness = [float((unit * centres[number]).sum()) for number, centres in clusterings]
    number = clusterings[tightness.index(max(tightness))][0]
    score = bootstrap(
        lambda rows: normalized_mutual_information(number[rows], labels[rows]), len(labels), job.seed, resamples=200
    )
    return Outcome(
        metrics={"NMI": score},
        settings={"k": k, "starts": len(starts), "seed": job.seed, "interval": "bootstrap over the images"},
        differs="the paper has no clustering protocol",
    )
