"""Protocols by nearest neighbours: kNN classification and retrieval."""

import torch

from byol.errors import ConfigError
from byol.evaluate.features import labels_of
from byol.evaluate.knn import NEIGHBOURS, TEMPERATURE, votes
from byol.evaluate.metrics import top_5
from byol.evaluate.nearest import nearest
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.evaluate.scores import accuracy

TRIED_NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
TRIED_TEMPERATURES = (0.02, 0.07, 0.1, 0.2, 0.5)
RECALLS = (1, 5, 10)


def knn(job: Job) -> Outcome:
    """Accuracy of weighted kNN classification; unless given, k and temperature are chosen on a tenth of the training images.

    The BYOL paper has no such protocol. The smoke budget tries one setting, k 20 and temperature 0.1. Raises ConfigError
    for a negative k or temperature.
    """
    options = job.options.knn
    if options.k < 0 or options.temperature < 0:
        raise ConfigError(
            f"knn.k and knn.temperature must be 0 (chosen on held-out images) or more; found {options.k} and {options.temperature:g}."
        )
    smoke = job.budget == "smoke"
    ks = (options.k,) if options.k else (NEIGHBOURS,) if smoke else TRIED_NEIGHBOURS
    temperatures = (options.temperature,) if options.temperature else (TEMPERATURE,) if smoke else TRIED_TEMPERATURES
    parts = job.held_out(0.1) if len(ks) * len(temperatures) > 1 else None
    bank, queries = job.features("train"), job.features("test")
    labels = labels_of(bank)
    ks = sorted({min(k, len(labels)) for k in ks})
    results = []
    if parts is not None:
        fitted, out = (torch.isin(bank.indices, torch.from_numpy(part)).nonzero()[:, 0] for part in parts)
        cosine, index = nearest(bank.vectors[out], bank.vectors[fitted], min(ks[-1], len(fitted)))
        for k in sorted({min(k, len(fitted)) for k in ks}):
            for temperature in temperatures:
                votes_by_class = votes(cosine[:, :k], labels[fitted][index[:, :k]], temperature, int(labels.max()) + 1)
                correct = (votes_by_class.argmax(dim=1) == labels[out]).float().mean()
                results.append({"k": k, "temperature": temperature, "accuracy": 100 * float(correct)})
        best = max(results, key=lambda cell: cell["accuracy"])
        k, temperature = best["k"], best["temperature"]
    else:
        k, temperature = ks[0], temperatures[0]
    cosine, index = nearest(queries.vectors, bank.vectors, k)
    votes_by_class = votes(cosine, labels[index], temperature, int(labels.max()) + 1)
    truth = labels_of(queries)
    return Outcome(
        metrics={"top-1": accuracy(votes_by_class.argmax(dim=1) == truth), **top_5(votes_by_class, truth, above=0.0)},
        settings={"k": k, "temperature": temperature},
        differs="the paper has no kNN protocol: the weighted vote of Wu et al. (2018)",
        extras={"validation": results},
    )


def retrieval(job: Job) -> Outcome:
    """Recall@k: the percentage of test images with an image of their class among their k nearest training images."""
    bank, queries = job.features("train"), job.features("test")
    labels = labels_of(bank)
    neighbour_labels = labels[nearest(queries.vectors, bank.vectors, min(max(RECALLS), len(labels)))[1]]
    match = neighbour_labels == labels_of(queries)[:, None]
    return Outcome(
        metrics={f"recall@{k}": accuracy(match[:, :k].any(dim=1)) for k in RECALLS if k <= len(labels)},
        settings={"similarity": "cosine"},
        differs="the paper has no retrieval protocol",
    )
