"""Feature vectors of images, in memory and on request in a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from byol.assembly.subject import open_subject, tell_channels, with_trained_columns
from byol.commands.vectors import vectors_of
from byol.data.open import open_source
from byol.data.public import Split
from byol.data.source import ImageSource, SkippedImages, shown_names
from byol.data.spec import DataSpec, as_spec
from byol.errors import ConfigError
from byol.evaluate.features import Features
from byol.runtime.files import replacing, require_new_file
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path


@dataclass(frozen=True)
class Embedding:
    """Feature vectors of the N images that can be decoded."""

    names: list[str]
    """Name of each image in its data, such as its path below the folder."""
    files: list[str]
    """Path of the file of each image, or its name if it is no file of its own."""
    vectors: NDArray[np.float32]
    """(N, D)."""
    labels: NDArray[np.int64] | None
    """(N,) index into `classes`; None without labels."""
    classes: list[str]
    """Names of all classes, in the order of `data.classes`; some may have no image."""
    skipped: list[tuple[str, str]]
    """(name, reason) of each image that cannot be decoded."""

    @property
    def label_names(self) -> list[str]:
        """Class of each image, by name; empty without labels."""
        return [] if self.labels is None else [self.classes[label] for label in self.labels.tolist()]


def embed(
    run: str | Path,
    data: str | DataSpec,
    out: str | Path = "",
    *,
    split: Split = "train",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> Embedding:
    """The feature vectors of all images: those that are kept with the encoder, and the others, which are computed and kept. Writes them to
    `out` (.parquet or .npz) if it is given.

    `run`: an encoder as for `open_subject`, such as a run directory or `timm:resnet18:pretrained`. `say` receives a line about
    files that are left out. Raises ConfigError for a split other than train and test, DataError or RunError if `out` cannot be written.
    """
    if split not in get_args(Split):
        raise ConfigError(f"There is no split {split!r}; there are {' and '.join(get_args(Split))}.")
    path = user_path(out) if out else None
    if path is not None:
        require_new_file(path, *FORMATS)
        require_outside(path, as_spec(data).data)
    torch_device, listener = choose_device(device), Listener(say, show)
    spec = with_trained_columns(str(run), data)
    source = open_source(spec, split, labelled=True, listener=listener)
    subject, skipped = open_subject(str(user_path(run)), source), SkippedImages()
    tell_channels(subject.encoder, say)
    features = vectors_of(subject, source, spec, torch_device, skipped, listener)
    embedding = _embedding(features, source, skipped.reasons)
    if path is not None:
        write_embedding(path, embedding)
    return embedding


def _embedding(features: Features, source: ImageSource, skipped: list[tuple[str, str]]) -> Embedding:
    """The features with the names and classes of their images."""
    indices = features.indices.tolist()
    labels = None if features.labels is None else features.labels.numpy()
    known = source.class_names
    if known is None:  # numbers alone
        known = [] if labels is None else [str(number) for number in range(int(labels.max(initial=-1)) + 1)]
    names = [source.name(index) for index in indices]
    return Embedding(names, shown_names(source, indices), features.vectors.numpy(), labels, list(known), skipped)


FORMATS = (".parquet", ".npz")
"""Allowed endings of the file."""


def write_embedding(path: Path, embedding: Embedding) -> None:
    """Writes the columns name, label and label_name (if there are labels) and vector, one row per image."""
    require_new_file(path, *FORMATS)
    names, vectors, classes = embedding.names, embedding.vectors, embedding.label_names
    labels = {} if embedding.labels is None else {"label": embedding.labels}
    with replacing(path) as temporary:
        if path.suffix.lower() == ".npz":
            columns = {"name": np.asarray(names), **labels, "vector": vectors}
            columns |= {"label_name": np.asarray(classes)} if labels else {}
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **columns)  # pyright: ignore[reportArgumentType]
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"name": pa.array(_utf8(names)), **labels}
        columns |= {"label_name": pa.array(_utf8(classes))} if labels else {}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        pq.write_table(pa.table(columns), temporary)


def _utf8(names: list[str]) -> list[str]:
    """Names whose bytes are no UTF-8 get U+FFFD in their place, since a table takes no others."""
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
