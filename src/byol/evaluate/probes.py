"""The demo's three questions of an encoder: kNN, linear, and linear with ten labels per class."""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.data.source import ImageSource
from byol.data.subset import per_class
from byol.evaluate.features import extract, labels_of
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear

PROBES = {"knn": "kNN", "linear": "linear", "few_labels": "linear, 10 labels per class"}
"""What `probe_correct` asks, in words."""
FEW_LABELS = 10
FEW_LABEL_DRAWS = 5


def probe_correct(
    encode: Callable[[Tensor], Tensor],
    train: ImageSource,
    test: ImageSource,
    channels: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Which test images each probe gets right, (N,) in [0, 1]: `knn`, `linear`, `few_labels`.

    `few_labels` is the mean over five draws of ten labelled images per class; its L2 strength is chosen by
    cross-validation within those. kNN: k 20, T 0.1. Every choice is made on training images.
    """
    bank = extract(encode, train, channels, device)
    queries = extract(encode, test, channels, device)
    labels, truth = labels_of(bank), labels_of(queries)
    few = []
    for draw in range(FEW_LABEL_DRAWS):
        chosen = torch.from_numpy(per_class(labels.numpy(), FEW_LABELS, seed=draw))
        probe = fit_linear(bank.vectors[chosen], labels[chosen], folds=5, seed=draw)
        few.append((probe.predict(queries.vectors) == truth).float())
    knn = knn_predict(bank.vectors, labels, queries.vectors)
    linear = fit_linear(bank.vectors, labels).predict(queries.vectors)
    return {
        "knn": (knn == truth).float(),
        "linear": (linear == truth).float(),
        "few_labels": torch.stack(few).mean(dim=0),
    }


def pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C H W): the images as their own features."""
    return images.flatten(1).float() / 255
