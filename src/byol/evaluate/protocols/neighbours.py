"""Protocols that compare neighbours: kNN and retrieval."""

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
    """Accuracy of the vote; k and temperature are chosen on a tenth of the training images unless they are given.

    The BYOL paper has no such protocol. Budget smoke tries one setting (k 20, T 0.1). Raises ConfigError for a negative
    k or temperature.
    """
    chosen = job.options.knn
    if chosen.k < 0 or chosen.temperature < 0:
        raise ConfigError(
            f"knn.k and knn.temperature must be 0 (chosen on held-out images) or more; found {chosen.k} and {chosen.temperature:g}."
        )
    smoke = job.budget == "smoke"
    ks = (chosen.k,) if chosen.k else (NEIGHBOURS,) if smoke else TRIED_NEIGHBOURS
    temperatures = (chosen.temperature,) if chosen.temperature else (TEMPERATURE,) if smoke else TRIED_TEMPERATURES
    parts = job.held_out(0.1) if len(ks) * len(temperatures) > 1 else None
    bank, queries = job.features("train"), job.features("test")
    labels = labels_of(bank)
    ks = sorted({min(k, len(labels)) for k in ks})
    tried = []
    if parts is not None:
        kept, out = (torch.isin(bank.indices, torch.from_numpy(part)).nonzero()[:, 0] for part in parts)
        cosine, index = nearest(bank.vectors[out], bank.vectors[kept], min(ks[-1], len(kept)))
        for k in sorted({min(k, len(kept)) for k in ks}):
            for temperature in temperatures:
                voted = votes(cosine[:, :k], labels[kept][index[:, :k]], temperature, int(labels.max()) + 1)
                correct = (voted.argmax(dim=1) == labels[out]).float().mean()
                tried.append({"k": k, "temperature": temperature, "accuracy": 100 * float(correct)})
        best = max(tried, key=lambda cell: cell["accuracy"])
        k, temperature = best["k"], best["temperature"]
    else:
        k, temperature = ks[0], temperatures[0]
    cosine, index = nearest(queries.vectors, bank.vectors, k)
    voted = votes(cosine, labels[index], temperature, int(labels.max()) + 1)
    truth = labels_of(queries)
    return Outcome(
        metrics={"top-1": accuracy(voted.argmax(dim=1) == truth), **top_5(voted, truth, above=0.0)},
        settings={"k": k, "temperature": temperature},
        differs="the paper has no kNN protocol: the weighted vote of Wu et al. (2018)",
        extras={"validation": tried},
    )


def retrieval(job: Job) -> Outcome:
    """Recall@k: how many test images have an image of their class among their k nearest training images."""
    bank, queries = job.features("train"), job.features("test")
    labels = labels_of(bank)
    found = labels[nearest(queries.vectors, bank.vectors, min(max(RECALLS), len(labels)))[1]]
    match = found == labels_of(queries)[:, None]
    return Outcome(
        metrics={f"recall@{k}": accuracy(match[:, :k].any(dim=1)) for k in RECALLS if k <= len(labels)},
        settings={"similarity": "cosine"},
        differs="the paper has no retrieval protocol",
    )
