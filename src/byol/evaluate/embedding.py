"""Features written to a file for other tools."""

from pathlib import Path

import numpy as np

from byol.data.source import ImageSource
from byol.errors import DataError
from byol.evaluate.features import Features
from byol.runtime.record import replacing

FORMATS = (".parquet", ".npz")


def check_format(path: Path) -> None:
    """Raises DataError where the ending is neither .parquet nor .npz, the file exists, or its folder does not."""
    if path.suffix not in FORMATS:
        raise DataError(f"{path} must end in {' or '.join(FORMATS)}.")
    if path.exists():
        raise DataError(f"{path} exists already; choose another --out.")
    if not path.parent.is_dir():
        raise DataError(f"The folder {path.parent} does not exist; make it, or choose another --out.")


def write_embedding(path: Path, features: Features, source: ImageSource) -> None:
    """Writes name, label (where there is one) and vector of every image."""
    check_format(path)
    names = [source.name(int(index)) for index in features.indices]
    vectors = features.vectors.numpy()
    labels = None if features.labels is None else features.labels.numpy()
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            columns = {"name": np.asarray(names), "vector": vectors} | ({} if labels is None else {"label": labels})
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **columns)  # pyright: ignore[reportArgumentType]
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        vector_column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        utf8 = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
        table = (
            {"name": pa.array(utf8)}
            | ({} if labels is None else {"label": pa.array(labels)})
            | {"vector": vector_column}
        )
        pq.write_table(pa.table(table), temporary)
