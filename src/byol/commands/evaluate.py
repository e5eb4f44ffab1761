"""kNN, linear probe and embedding of an encoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from byol import build
from byol.data.source import ImageSource, SkippedImages
from byol.data.subset import Subset, held_out
from byol.errors import DataError
from byol.evaluate.embedding import check_format, write_embedding
from byol.evaluate.features import Features, extract
from byol.evaluate.knn import knn_predict
from byol.evaluate.linear import fit_linear
from byol.evaluate.scores import Score, accuracy
from byol.export.encoder_file import Encoder, load_encoder
from byol.runtime.hardware import choose_device
from byol.runtime.record import write_atomically

Count = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


def labelled_splits(
    data: str, test_data: str = "", *, root: str = "", download: bool = False, seed: int = 0
) -> tuple[ImageSource, ImageSource]:
    """(train, test) images with labels. A source without a test part of its own has a fifth of every class held out.

    Raises DataError where labels are missing or both parts do not have the same classes.
    """
    train = build.open_source(data, "train", root=root, download=download, labelled=True)
    own_test = data == "sample" or data in build.PUBLIC or build.has_splits(Path(data).expanduser())
    if test_data or own_test:
        test = build.open_source(test_data or data, "test", root=root, download=download, labelled=True)
    else:
        if train.labels is None:
            raise DataError(
                f"{train.description} has no labels; put the images of each class into a sub-folder of its own."
            )
        kept, out = held_out(train.labels, 0.2, seed)
        test = Subset(train, out, f"{train.description}, a held-out fifth")
        train = Subset(train, kept, f"{train.description}, the other four fifths")
    for part in (train, test):
        if part.labels is None:
            raise DataError(
                f"{part.description} has no labels; put the images of each class into a sub-folder of its own."
            )
    _same_classes(train, test)
    return train, test


def knn(
    run: str | Path,
    data: str,
    test_data: str = "",
    *,
    k: int = 200,
    temperature: float = 0.1,
    root: str = "",
    download: bool = False,
    device: str = "auto",
    show: Count = _silent,
) -> tuple[Score, dict[str, Any]]:
    """Accuracy of the weighted kNN vote on the test images, and the record of how it came about."""
    train, test, bank, queries = _feature_pair(run, data, test_data, root, download, device, show)
    predicted = knn_predict(bank.vectors, _labels(bank), queries.vectors, k=k, temperature=temperature)
    score = accuracy(predicted == _labels(queries))
    return score, _record(
        "knn",
        run,
        train,
        test,
        bank,
        queries,
        score,
        {"k": min(k, len(bank.vectors)), "temperature": temperature},
    )


def linear(
    run: str | Path,
    data: str,
    test_data: str = "",
    *,
    seed: int = 0,
    root: str = "",
    download: bool = False,
    device: str = "auto",
    show: Count = _silent,
) -> tuple[Score, dict[str, Any]]:
    """Accuracy of a linear probe on cached features, and the record of how it came about."""
    train, test, bank, queries = _feature_pair(run, data, test_data, root, download, device, show)
    probe = fit_linear(bank.vectors, _labels(bank), seed=seed)
    score = accuracy(probe.predict(queries.vectors) == _labels(queries))
    settings = {
        "l2_strength": probe.strength,
        "seed": seed,
        "protocol": "L-BFGS on cached features; not the paper's",
    }
    return score, _record("linear", run, train, test, bank, queries, score, settings)


def embed(
    run: str | Path,
    data: str,
    out: str | Path,
    *,
    split: str = "train",
    root: str = "",
    download: bool = False,
    device: str = "auto",
    show: Count = _silent,
) -> tuple[int, dict[str, str]]:
    """Writes the vectors of all images to `out` (.parquet or .npz); returns their number and what was skipped."""
    check_format(Path(out))
    encoder, chosen = _open_encoder(run, device)
    source = build.open_source(
        data, "train" if split == "train" else "test", root=root, download=download, labelled=True
    )
    skipped = SkippedImages()
    features = extract(encoder, source, encoder.description.in_channels, chosen, skipped=skipped, show=show)
    write_embedding(Path(out), features, source)
    return len(features.vectors), skipped.reasons


def write_result(run: str | Path, record: dict[str, Any]) -> Path:
    """Writes the record into the run directory, under the protocol's name."""
    import json

    path = Path(run) / f"{record['protocol']}.json"
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    return path


def _open_encoder(run: str | Path, device: str) -> tuple[Encoder, torch.device]:
    chosen = choose_device(device)
    return load_encoder(run).to(chosen), chosen


def _feature_pair(
    run: str | Path, data: str, test_data: str, root: str, download: bool, device: str, show: Count
) -> tuple[ImageSource, ImageSource, Features, Features]:
    encoder, chosen = _open_encoder(run, device)
    train, test = labelled_splits(data, test_data, root=root, download=download)
    total = len(train) + len(test)
    bank = extract(encoder, train, encoder.description.in_channels, chosen, show=lambda done, _: show(done, total))
    queries = extract(
        encoder,
        test,
        encoder.description.in_channels,
        chosen,
        show=lambda done, _: show(len(train) + done, total),
    )
    return train, test, bank, queries


def _labels(features: Features) -> torch.Tensor:
    assert features.labels is not None
    return features.labels


def _same_classes(train: ImageSource, test: ImageSource) -> None:
    if train.class_names is not None and test.class_names is not None and train.class_names != test.class_names:
        only = sorted(set(train.class_names) ^ set(test.class_names))
        raise DataError(
            f"{train.description} and {test.description} do not have the same classes; these are in one alone: {', '.join(only[:10])}."
        )
    assert train.labels is not None and test.labels is not None
    if len(set(train.labels.tolist())) < 2:
        raise DataError(f"{train.description} has one class only; a probe needs at least two.")


def _record(
    protocol: str,
    run: str | Path,
    train: ImageSource,
    test: ImageSource,
    bank: Features,
    queries: Features,
    score: Score,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "run": str(run),
        "network": "online, eval mode",
        "train": train.description,
        "test": test.description,
        "num_train": len(bank.vectors),
        "num_test": len(queries.vectors),
        "num_features": bank.vectors.shape[1],
        "settings": settings,
        "accuracy": {"value": score.value, "low": score.low, "high": score.high},
    }
