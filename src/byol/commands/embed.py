"""Feature vectors of images, written to a file."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np

from byol.assembly.subject import open_subject, tell_channels, with_trained_columns
from byol.data.open import open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.public import Split
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.errors import ConfigError, DataError
from byol.evaluate.features import Features, extract
from byol.runtime.files import replacing
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT, Listener
from byol.runtime.paths import require_outside, user_path


def embed(
    run: str | Path,
    data: str | DataSpec,
    out: str | Path,
    *,
    split: Split = "train",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str, int, int], None] = SILENT.work,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes the feature vectors of all images to `out` (.parquet or .npz).

    Returns the number of vectors, and (name, reason) of each skipped image. `run`: an encoder as for `open_subject`, such as a
    run directory or `timm:resnet18:pretrained`. `say` receives a line about files that are left out. Raises ConfigError for a
    split other than train and test.
    """
    if split not in get_args(Split):
        raise ConfigError(f"There is no split {split!r}; there are {' and '.join(get_args(Split))}.")
    path = user_path(out)
    check_format(path)
    require_outside(path, as_spec(data).data)
    torch_device, listener = choose_device(device), Listener(say, show)
    spec = with_trained_columns(str(run), data)
    source = open_source(spec, split, labelled=True, listener=listener)
    encoder = open_subject(str(user_path(run)), source).encoder.to(torch_device)
    tell_channels(encoder, say)
    about, skipped = encoder.description, SkippedImages()
    photos = shrink_photos(source, about.in_channels, about.stored_side, spec)
    features = extract(encoder, photos, about.in_channels, torch_device, skipped=skipped, listener=listener)
    write_embedding(path, features, source)
    return len(features.vectors), skipped.reasons


FORMATS = (".parquet", ".npz")
"""Allowed endings of the file."""


def check_format(path: Path) -> None:
    """Raises DataError if the ending is neither .parquet nor .npz, the file exists already, or its folder does not exist."""
    if path.suffix not in FORMATS:
        raise DataError(f"{path} must end in {' or '.join(FORMATS)}.")
    if path.exists():
        raise DataError(f"{path} exists already; choose another --out.")
    if not path.parent.is_dir():
        raise DataError(f"The folder {path.parent} does not exist; make it, or choose another --out.")


def write_embedding(path: Path, features: Features, source: ImageSource) -> None:
    """Writes the columns name, label and label_name (if there are labels) and vector, one row per image.

    A label is an index into the sorted names of all classes (`data.classes`). Some classes may have no image.
    """
    check_format(path)
    names = [source.name(int(index)) for index in features.indices]
    vectors = features.vectors.numpy()
    labels, classes = {}, []
    if features.labels is not None:
        labels["label"] = features.labels.numpy()
        known = source.class_names
        classes = [str(code) if known is None else known[code] for code in labels["label"].tolist()]
    with replacing(path) as temporary:
        if path.suffix == ".npz":
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
