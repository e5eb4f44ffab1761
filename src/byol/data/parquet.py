"""Parquet files with an image column: bytes, or struct of bytes and path, as the Hugging Face Hub stores them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from byol.data.decode import decode, stored_channels
from byol.data.source import Image
from byol.errors import BrokenImageError, DataError

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


class ParquetImages:
    """The rows of one parquet file, or of all files below a folder in the order of their paths.

    Encoded images stay in memory as they are in the files. The image column is `image` or `img`, else the first
    that holds bytes; labels are an integer or string column called `label` or the like.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no parquet file.")
        try:
            schema = pq.read_schema(files[0])
            self.image_column = _image_column(schema, files[0])
            label_column = next((c for c in LABEL_COLUMNS if c in schema.names), None)
            columns = [self.image_column] + ([label_column] if label_column else [])
            table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]}).") from error
        if table.num_rows == 0:
            raise DataError(f"{path} has no rows.")
        self.folder = files[0].parent
        self.images = table.column(self.image_column)
        self.description = f"parquet {path}"
        self.labels, self.class_names = _labels(
            table.column(label_column) if label_column else None, schema, label_column
        )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, channels: int) -> Image:
        return decode(self._content(index), channels)

    def name(self, index: int) -> str:
        row = self.images[index].as_py()
        path = row.get("path") if isinstance(row, dict) else None
        return path or f"row {index}"

    def channels(self, index: int) -> int:
        return stored_channels(self._content(index))

    def _content(self, index: int) -> bytes:
        row = self.images[index].as_py()
        content = row.get("bytes") if isinstance(row, dict) else row
        if content is not None:
            return content
        path = row.get("path") if isinstance(row, dict) else None
        if not path:
            raise BrokenImageError("the row holds no image")
        place = (self.folder / path).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            raise BrokenImageError(f"its path {path!r} leads out of the folder {self.folder}")
        try:
            return place.read_bytes()
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error


def _image_column(schema: Any, file: Path) -> str:
    import pyarrow as pa

    def holds_images(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    fitting = [name for name in schema.names if holds_images(schema.field(name).type)]
    if not fitting:
        raise DataError(
            f"{file} has no image column (bytes, or struct of bytes and path); it has {', '.join(schema.names)}."
        )
    return next((name for name in ("image", "img") if name in fitting), fitting[0])


def _labels(column: Any, schema: Any, name: str | None) -> tuple[np.ndarray | None, list[str] | None]:
    import pyarrow as pa

    if column is None:
        return None, None
    if column.null_count:
        raise DataError(
            f"The label column {name!r} has {column.null_count} empty rows; fill them or remove the column."
        )
    if pa.types.is_integer(column.type):
        return column.to_numpy().astype(np.int64), _class_names(schema, name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        names, numbers = np.unique(np.asarray(column.to_pylist()), return_inverse=True)
        return numbers.astype(np.int64), names.tolist()
    return None, None


def _class_names(schema: Any, label_column: str | None) -> list[str] | None:
    """Class names from the Hub's metadata, or from a JSON list under `class_names`."""
    metadata = schema.metadata or {}
    try:
        if b"huggingface" in metadata:
            return json.loads(metadata[b"huggingface"])["info"]["features"][label_column]["names"]
        if b"class_names" in metadata:
            return list(json.loads(metadata[b"class_names"]))
    except (KeyError, TypeError, ValueError):
        return None
    return None
