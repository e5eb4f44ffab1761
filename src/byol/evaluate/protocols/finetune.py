"""Fine-tuning of all weights, the paper's transfer protocol (BYOL D.3, SimCLR B.8), and its supervised baseline."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from torch import nn

from byol.data.subset import Subset
from byol.evaluate.features import labels_of
from byol.evaluate.metrics import mean_per_class, top_5, top_k
from byol.evaluate.protocols import training
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.nets.norm import set_newest_share


def log_spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` values from 10^low to 10^high, evenly spaced in the logarithm."""
    return tuple(10 ** (low + (high - low) * step / (count - 1)) for step in range(count))


RATES = {"paper": log_spaced(-4, -1, 7), "default": (0.001, 0.01, 0.1), "smoke": (0.01,)}
DECAYS = {"paper": (0.0, *log_spaced(-6, -3, 7)), "default": (1e-6,), "smoke": (0.0,)}
"""Weight decays by budget; each is divided by the learning rate (SimCLR B.8)."""
SCRATCH_RATES = {"paper": log_spaced(-3, 0, 7), "default": (0.01, 0.1, 1.0), "smoke": (0.1,)}
SCRATCH_DECAYS = {"paper": log_spaced(-5, -1.5, 8), "default": (1e-5,), "smoke": (0.0,)}
STEPS, SCRATCH_STEPS = 20_000, 40_000
"""Steps of the paper's budget, for fine-tuning and for training from scratch."""
EPOCHS = {"default": 10, "smoke": 1}
BATCH_SIZE = {"paper": 256, "default": 64, "smoke": 32}


def finetune(job: Job) -> Outcome:
    """Accuracy of the fine-tuned encoder.

    Rate and weight decay are chosen on a tenth of the training images; then all training images are used. The optimizer
    is SGD with Nesterov momentum 0.9 and cosine decay, with batches of 256 for 20,000 steps. Batch-norm averages have the
    momentum max(1 - 10 / steps per epoch, 0.9).
    """
    return _grid(job, job.trainable, RATES[job.budget], DECAYS[job.budget], STEPS)


def supervised(job: Job) -> Outcome:
    """Accuracy of the supervised baseline: the same encoder trained from random weights, otherwise like `finetune`.

    The grid is SimCLR's for random initialisation: 7 rates in [1e-3, 1], 8 weight decays up to 10^-1.5, 40,000 steps.
    """

    def start() -> nn.Module:
        return job.untrained(job.seed)

    return _grid(job, start, SCRATCH_RATES[job.budget], SCRATCH_DECAYS[job.budget], SCRATCH_STEPS)


def grid(
    rates: Sequence[float], decays: Sequence[float], budget: str, num_images: int, paper_steps: int
) -> list[training.Cell]:
    """All pairs of rate and weight decay, as settings of a training."""
    batch_size = min(BATCH_SIZE[budget], num_images)
    steps = paper_steps if budget == "paper" else training.steps_for(EPOCHS[budget], num_images, batch_size)
    return [training.Cell(rate, steps, batch_size, decay / rate) for rate, decay in product(rates, decays)]


def newest_share(steps_per_epoch: float) -> float:
    """Weight of the newest batch in batch-norm averages, 1 - max(1 - 10 / steps per epoch, 0.9)."""
    return 1 - max(1 - 10 / steps_per_epoch, 0.9)


def _grid(
    job: Job, start: Callable[[], nn.Module], rates: Sequence[float], decays: Sequence[float], paper_steps: int
) -> Outcome:
    train, validation = training.split(job)
    indices = np.sort(np.concatenate((train.indices, validation.indices)))
    images = Subset(job.train, indices, f"{job.train.description}, {len(indices)} to train on")
    cells = grid(rates, decays, job.budget, len(train), paper_steps)

    def prepared() -> nn.Module:
        return set_newest_share(start(), newest_share(len(train) / cells[0].batch_size))

    best, _, results = training.search(job, prepared, train, validation, cells)
    final = best
    if job.budget != "paper":
        final = replace(best, steps=training.steps_for(EPOCHS[job.budget], len(images), best.batch_size))
    classifier = training.train_classifier(job, prepared(), images, final, "training on all images")
    logits = training.scores(job, classifier, job.test)
    labels = labels_of(logits)
    correct = logits.vectors.argmax(dim=1) == labels
    return Outcome(
        metrics={
            "top-1": top_k(logits.vectors, labels, 1),
            **top_5(logits.vectors, labels),
            "mean per class": mean_per_class(correct, labels),
        },
        settings={
            "rate": best.rate,
            "weight_decay": best.weight_decay,
            "steps": final.steps,
            "batch_size": best.batch_size,
            "cells": len(cells),
            "train_images": len(images),
            "validation_images": len(validation),
            "precision": training.precision(job),
        },
        differs=job.differs(),
        caution=training.end_of_grid([(cell["rate"], cell["accuracy"]) for cell in results]),
        extras={"validation": results},
    )
