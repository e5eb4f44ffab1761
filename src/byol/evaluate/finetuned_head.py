"""A head and an encoder that are trained together on labelled images, with calibrated probabilities."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from byol.data.subset import Subset, held_out
from byol.errors import DataError
from byol.evaluate.head import Head, HeldOut, calibrate, fit_layer
from byol.evaluate.protocols import training
from byol.evaluate.protocols.finetune import DECAYS, RATES, STEPS, grid, newest_share
from byol.evaluate.protocols.protocol import Job
from byol.evaluate.scores import Score, accuracy
from byol.nets.norm import set_newest_share

VALIDATION = 0.2
"""Fraction of each class on which rate and temperature are chosen."""


def finetune_head(job: Job, vectors: Tensor, frozen: Head) -> tuple[nn.Module, Head, Score]:
    """(trained encoder, its head, accuracy of the frozen head on the same held-out images).

    `vectors` are the frozen encoder's, (N, D), of all images of `job.train`. The rate is the best of three by
    accuracy on a fifth of each class, which also gives the temperature; then all images are trained on. The layer starts from the
    frozen head's (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution").
    Raises DataError if no class has two images.
    """
    assert job.train.labels is not None
    labels = torch.from_numpy(job.train.labels)
    fitted, out = held_out(job.train.labels, VALIDATION, job.seed)
    if not len(out):
        raise DataError(f"{job.train.description} has one image of each class, so that none can be held out.")
    part, rest = (Subset(job.train, rows, job.train.description) for rows in (fitted, out))
    temperature = frozen.held_out.temperature

    def layer(rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        weight, bias = fit_layer(vectors[rows], labels[rows], job.num_classes, (frozen.strength,))
        return weight / temperature, bias / temperature

    weight, bias = layer(torch.from_numpy(fitted))
    before = accuracy((vectors[out] @ weight.T + bias).argmax(dim=1) == labels[out])
    cells = grid(RATES[job.budget], DECAYS[job.budget], job.budget, len(part), STEPS)

    def start() -> nn.Module:
        return set_newest_share(job.trainable(), newest_share(len(part) / cells[0].batch_size))

    best, classifier, _ = training.search(job, start, part, rest, cells, (weight, bias))
    found = training.scores(job, classifier, rest)
    places = torch.from_numpy(out)[found.indices]
    temperature_after = calibrate(found.vectors, labels[places], len(places))[0]
    final = replace(best, steps=round(best.steps * len(labels) / len(part)))
    trained = training.train_classifier(job, start(), job.train, final, "training on all images", layer(slice(None)))
    head = Head(
        trained.head.weight.detach().cpu() / temperature_after,
        trained.head.bias.detach().cpu() / temperature_after,
        frozen.strength,
        HeldOut(places, labels[places], found.vectors, temperature_after),
    )
    return trained.encoder, head, before
