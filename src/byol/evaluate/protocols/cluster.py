"""The protocol `cluster`: spherical k-means against the classes."""

from torch.nn import functional

from byol.errors import DataError
from byol.evaluate.features import labels_of
from byol.evaluate.kmeans import RESTARTS, spherical_kmeans
from byol.evaluate.metrics import bootstrap, normalized_mutual_information
from byol.evaluate.protocols.protocol import Job, Outcome


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
