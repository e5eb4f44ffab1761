"""The demo's three probes of an encoder: kNN, linear, and linear with ten labels per class."""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.data.source import ImageSource
from byol.data.subset import per_class
from byol.evaluate.features import extract, labels_of
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear

PROBES = {"knn": "kNN", "linear": "linear", "few_labels": "linear, 10 labels per class"}
"""Probes of `probe_correct` with their names for users."""
FEW_LABELS = 10
"""Number of labelled images per class for the probe `few_labels`."""
FEW_LABEL_DRAWS = 5
"""Number of random draws of the labelled images."""


def probe_correct(
    encode: Callable[[Tensor], Tensor],
    train: ImageSource,
    test: ImageSource,
    channels: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Correctness of each test image by probe, (N,) in [0, 1]: `knn`, `linear`, `few_labels`.

    `few_labels` is the mean over five draws of ten labelled images per class; cross-validation within them chooses its
    L2 strength. kNN uses k 20 and temperature 0.1. No setting is chosen on test images.
    """
    bank = extract(encode, train, channels, device)
    queries = extract(encode, test, channels, device)
    labels, truth = labels_of(bank), labels_of(queries)
    few = few_labels_correct(bank.vectors, labels, queries.vectors, truth, FEW_LABELS, FEW_LABEL_DRAWS)
    knn = knn_predict(bank.vectors, labels, queries.vectors)
    linear = fit_linear(bank.vectors, labels).predict(queries.vectors)
    return {
        "knn": (knn == truth).float(),
        "linear": (linear == truth).float(),
        "few_labels": few,
    }


def few_labels_correct(bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, count: int, draws: int) -> Tensor:
    """Correctness of each query in [0, 1]: the mean over `draws` linear probes, each on `count` random images per class.

    bank (N, D) with labels (N,), queries (M, D) with their labels `truth` (M,) -> (M,).
    """
    correct = []
    for draw in range(draws):
        labelled = torch.from_numpy(per_class(labels.numpy(), count, seed=draw))
        probe = fit_linear(bank[labelled], labels[labelled], folds=min(5, count), seed=draw)
        correct.append((probe.predict(queries) == truth).float())
    return torch.stack(correct).mean(dim=0)


def pixels(images: Tensor) -> Tensor:
    """The pixels as features: (N, C, H, W) uint8 or uint16 -> (N, C * H * W) in [0, 1]."""
    return images.flatten(1).float() / (65535 if images.dtype == torch.uint16 else 255)
