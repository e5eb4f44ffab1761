"""The demo's three questions of an encoder: kNN, linear, and linear with ten labels per class."""

from collections.abc import Callable

import torch
from torch import Tensor

from byol.data.source import ImageSource
from byol.data.subset import per_class
from byol.evaluate.features import extract
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear

KNN_NEIGHBOURS = 20
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
    assert bank.labels is not None and queries.labels is not None
    few = []
    for draw in range(FEW_LABEL_DRAWS):
        chosen = torch.from_numpy(per_class(bank.labels.numpy(), FEW_LABELS, seed=draw))
        probe = fit_linear(bank.vectors[chosen], bank.labels[chosen], folds=5, seed=draw)
        few.append((probe.predict(queries.vectors) == queries.labels).float())
    knn = knn_predict(bank.vectors, bank.labels, queries.vectors, k=KNN_NEIGHBOURS, temperature=0.1)
    linear = fit_linear(bank.vectors, bank.labels).predict(queries.vectors)
    return {
        "knn": (knn == queries.labels).float(),
        "linear": (linear == queries.labels).float(),
        "few_labels": torch.stack(few).mean(dim=0),
    }


def pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C H W): the images as their own features."""
    return images.flatten(1).float() / 255
