"""Tables with an image column: bytes, or struct of bytes and path, as the Hugging Face Hub stores them, or paths."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.data.decode import EncodedImages
from byol.errors import BrokenImageError, DataError

PATH_COLUMNS = ("image", "img", "path", "image_path", "file", "file_name", "filename", "filepath")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


class TableImages(EncodedImages):
    """The rows of an Arrow table.

    The image column is `image` or `img`, else the first that holds bytes, else strings called `path` or the like;
    labels are a column called `label` or the like, of names or of whole numbers from 0. Where a row has none there are no
    labels, and the description says why. Paths lead to files below `folder`.
    """

    def __init__(self, table: Any, folder: Path, description: str) -> None:
        if table.num_rows == 0:
            raise DataError(f"{description} has no rows.")
        self.folder = folder
        image, label = columns(table.schema, description)
        self.images = table.column(image)
        self.labels, self.class_names, trouble = None, None, ""
        if label:
            self.labels, self.class_names, trouble = _labels(table.column(label), table.schema, label)
        self.description = description + (f" without labels ({trouble})" if trouble else "")

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self._path(index) or f"row {index}"

    def content(self, index: int) -> bytes:
        content, path = self._entry(index)
        if content is not None:
            return content
        if not path:
            raise BrokenImageError("the row holds no image")
        place = (self.folder / path).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            raise BrokenImageError(f"its path {path!r} leads out of the folder {self.folder}")
        try:
            return place.read_bytes()
        except OSError as error:
            raise BrokenImageError(error.strerror or str(error)) from error

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Bytes of each image, or of its path; -1 where there is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.images
        try:
            if pa.types.is_struct(column.type):
                column = pc.struct_field(column, "bytes")  # pyright: ignore[reportAttributeAccessIssue]
            lengths = pc.binary_length(column).fill_null(-1)  # pyright: ignore[reportAttributeAccessIssue]
        except pa.ArrowException:  # a type without lengths
            return []
        return lengths.to_numpy()[indices].tolist()

    def _path(self, index: int) -> str | None:
        """Without a copy of the image."""
        row = self.images[index]
        fields = [field.name for field in row.type] if hasattr(row, "keys") else []
        return row["path"].as_py() if "path" in fields else None if fields else self._entry(index)[1]

    def _entry(self, index: int) -> tuple[bytes | None, str | None]:
        row = self.images[index].as_py()
        if isinstance(row, dict):
            return row.get("bytes"), row.get("path")
        return (None, row) if isinstance(row, str) else (row, None)


def columns(schema: Any, description: str) -> tuple[str, str | None]:
    """The image column and the label column, if there is one. Raises DataError where there is no image column."""
    import pyarrow as pa

    def holds_images(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    def holds_paths(kind: Any) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    fitting = [name for name in schema.names if holds_images(schema.field(name).type)]
    fitting = fitting or [n for n in PATH_COLUMNS if n in schema.names and holds_paths(schema.field(n).type)]
    if not fitting:
        raise DataError(
            f"{description} has no image column (bytes, struct of bytes and path, or strings called "
            f"{', '.join(PATH_COLUMNS)}); it has {', '.join(schema.names)}."
        )
    image = next((name for name in ("image", "img") if name in fitting), fitting[0])
    return image, next((name for name in LABEL_COLUMNS if name in schema.names), None)


def _labels(column: Any, schema: Any, name: str) -> tuple[np.ndarray | None, list[str] | None, str]:
    """(class numbers, class names, and where there are no numbers, why)."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if column.null_count:
        return None, None, f"{column.null_count} rows of its column {name!r} are empty: fill them"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        names, numbers = np.unique(np.asarray(column.to_pylist()), return_inverse=True)
        return numbers.astype(np.int64), names.tolist(), ""
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None, None, f"its column {name!r} holds {kind}: store names or numbers"
    values = column.to_numpy()
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if wrong := int(((numbers != values) | (numbers < 0)).sum()):
        return None, None, f"{wrong} rows of its column {name!r} are no whole numbers from 0: number the classes so"
    return numbers, _class_names(schema, name), ""


def _class_names(schema: Any, label_column: str) -> list[str] | None:
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
