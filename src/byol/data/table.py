"""A source that reads tables with a column of images: bytes, structs of bytes and path as on the Hugging Face Hub, or paths."""

import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byol.data.classes import Labels, canonical, is_number, several_spellings
from byol.data.decode import EncodedImages, extensions, stored_kind
from byol.data.spec import DataSpec
from byol.errors import BrokenImageError, DataError

IMAGE_COLUMNS = ("image", "img")
"""Names that come first among several columns of bytes."""
PATH_COLUMNS = (*IMAGE_COLUMNS, "path", "image_path", "file", "file_name", "filename", "filepath")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "cls")
MAX_PATH_LENGTH = 1024
SAMPLED_ROWS = 16
"""Number of rows that are looked at to tell which column holds the images."""
ENCODED_TEXT = ("data:", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""First characters of images stored as text: a data address, and PNG, JPEG, GIF and WebP in base64."""


@dataclass(frozen=True)
class TableLabels:
    """Labels from the label column of a table."""

    labels: Labels | None = None
    trouble: str = ""
    """Reason why the column holds no usable labels; empty if there is none."""
    note: str = ""
    """Note for the user on how the labels were read."""
    bare: bool = False
    """Whether the labels are numbers without names in the file."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table that are read."""

    image: str
    label: str | None
    label_note: str = ""
    """Note on the choice of the label column, if several fit."""
    image_note: str = ""
    """Note on the choice of the image column, if several fit."""


class TableImages(EncodedImages):
    """The rows of an Arrow column of images: bytes, structs of bytes and path, or paths of files below `folder`.

    The description gives the reason if the labels cannot be used. Raises DataError if there are no rows.
    """

    files: Sequence[Path] = ()
    """Files with all columns of the table, in the order of the rows."""

    def __init__(self, images: Any, folder: Path, description: str, columns: Columns, labels: TableLabels) -> None:
        if not len(images):
            raise DataError(f"{description} has no rows.")
        self.folder, self.images, self.image_column = folder, images, columns.image
        _require_paths(images, columns.image, description)
        self.labels = labels.labels.codes if labels.labels else None
        self.class_names = list(labels.labels.names) if labels.labels else None
        self.description = description + (f" without labels ({labels.trouble})" if labels.trouble else "")
        self.notes: Sequence[str] = [columns.image_note] if columns.image_note else []
        self.label_notes: Sequence[str] = [note for note in (columns.label_note, labels.note) if note]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self._path(index) or f"row {index}"

    def file(self, index: int) -> Path | None:
        """Path of the image's file; None if the table holds the image itself."""
        content, path = self._entry(index)
        return None if content is not None or not path else self.folder / path

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
        except (OSError, ValueError) as error:
            raise BrokenImageError(getattr(error, "strerror", "") or str(error)) from error

    def sizes(self, indices: NDArray[np.int64]) -> list[int]:
        """Size in bytes of each image, or of its path; -1 if there is none. Empty if the column type has no lengths."""
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

    def column(self, name: str) -> list[str | None]:
        """(N,) values of a column of names or numbers, as text; None where a row has none. Raises DataError for any other column."""
        return [value for file in self.files for value in _values(file, name)]

    def _path(self, index: int) -> str | None:
        """Path of an image, read without copying the image; None if there is none."""
        row = self.images[index]
        fields = [field.name for field in row.type] if hasattr(row, "keys") else []
        return row["path"].as_py() if "path" in fields else None if fields else self._entry(index)[1]

    def _entry(self, index: int) -> tuple[bytes | None, str | None]:
        return _content_and_path(self.images[index].as_py())


def _values(file: Path, name: str) -> list[str | None]:
    """Values of a column of one file, as text; None for what is empty or no number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_parquet = file.suffix.lower() == ".parquet"
    opened: Any = pq.ParquetFile(file) if is_parquet else pa.ipc.open_stream(pa.memory_map(str(file)))
    names = opened.schema_arrow.names if is_parquet else opened.schema.names
    if name not in names:
        raise DataError(f"{file} has no column {name!r} (--views.pairs); it has {', '.join(names)}.")
    column = opened.read([name]).column(0) if is_parquet else opened.read_all().column(names.index(name))
    try:
        values = column.cast(plain(column.type)).cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        raise DataError(
            f"Column {name!r} of {file} (--views.pairs) holds {column.type}, neither names nor numbers."
        ) from error
    empty = ("", "nan") if pa.types.is_floating(column.type) else ("",)
    return [None if value in empty else value for value in values]


def plain(kind: Any) -> Any:
    """An Arrow type without details of its storage: dictionaries, views and 64-bit offsets."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if kind in _views("string_view") or pa.types.is_large_string(kind):
        return pa.string()
    if kind in _views("binary_view") or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return kind


def _views(name: str) -> tuple[Any, ...]:
    """The view type of that name; empty if this version of pyarrow lacks it."""
    import pyarrow as pa

    return (getattr(pa, name)(),) if hasattr(pa, name) else ()


def find_columns(
    schemas: Sequence[Any], description: str, spec: DataSpec, rows: Callable[[str], Sequence[Any]]
) -> Columns:
    """The image column of the first file and the label column of any file, as `spec` names them or else by type and name.

    The image column is `image` or `img`, else the first that holds bytes, else strings called `path` or similar. Among
    several, columns whose first values are images come first; `rows` gives these values. Raises DataError if there is no
    image column, or no column of the name that `spec` gives.
    """
    schema, names = schemas[0], list(dict.fromkeys(name for schema in schemas for name in schema.names))
    kinds = {name: _kind(schemas, name) for name in schema.names}
    fit = [name for name in dict.fromkeys((*IMAGE_COLUMNS, *kinds)) if name in kinds and holds_images(kinds[name])]
    paths = [name for name in PATH_COLUMNS if name in kinds and _holds_paths(kinds[name])]
    if not spec.image_column and fit and len(fit) + len(paths) > 1:
        fit.sort(key=lambda name: not any(map(_is_image, rows(name))))
        fit = fit if any(map(_is_image, rows(fit[0]))) else paths + fit
    image, note = _choose("image", fit or paths, spec.image_column, list(kinds), description)
    if image is None:
        raise DataError(
            f"{description} has no image column (bytes, struct of bytes and path, or strings called "
            f"{', '.join(PATH_COLUMNS)}); it has {', '.join(kinds)}. To read another column of strings, name it with --data.image-column."
        )
    if not (holds_images(kinds[image]) or _holds_paths(kinds[image])):
        raise DataError(f"Column {image!r} of {description} holds {kinds[image]}, neither images nor paths.")
    fit = [name for known in LABEL_COLUMNS for name in names if name.lower() == known]
    return Columns(image, *_choose("label", fit, spec.label_column, names, description), image_note=note)


def _kind(schemas: Sequence[Any], column: str) -> Any:
    """Type of a column in the first file in which it has values."""
    import pyarrow as pa

    kinds = [schema.field(column).type for schema in schemas if column in schema.names]
    return next((kind for kind in kinds if not pa.types.is_null(kind)), kinds[0])


def _choose(what: str, fit: list[str], named: str, names: list[str], description: str) -> tuple[str | None, str]:
    """(first column that fits, a note if several do). Raises DataError if the table lacks the named column."""
    option = f"--data.{what}-column"
    if named:
        if named not in names:
            raise DataError(f"{description} has no column {named!r} ({option}); it has {', '.join(names)}.")
        return named, ""
    column, *others = fit or [None]
    others = ", ".join(map(repr, others))
    return (
        column,
        f"{description}: the {what} column is {column!r}, not {others}; {option} takes another" if others else "",
    )


def holds_images(kind: Any) -> bool:
    """Whether a column of this Arrow type can hold image files: bytes, or structs of bytes and path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
    return pa.types.is_binary(plain(kind))


def _holds_paths(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(plain(kind))


def _is_image(value: Any) -> bool:
    """Whether a value of a table is an image file, or a path with the ending of one."""
    content, path = _content_and_path(value)
    if not content:
        return bool(path) and os.path.splitext(path)[1].lower() in extensions()
    try:
        return bool(stored_kind(io.BytesIO(content)))
    except BrokenImageError:
        return False


def _content_and_path(value: Any) -> tuple[bytes | None, str | None]:
    """Bytes and path of a value in an image column; None for what it lacks."""
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path")
    return (None, value) if isinstance(value, str) else (value, None)


def _require_paths(images: Any, column: str, description: str) -> None:
    """Raises DataError if strings are images as text instead of paths."""
    if not _holds_paths(images.type):
        return
    text = next((row.as_py() for row in images if row.is_valid), "")
    if len(text) > MAX_PATH_LENGTH or text.startswith(ENCODED_TEXT):
        raise DataError(
            f"Column {column!r} of {description} holds images as text (base64?), but only bytes and paths are read. Decode them to bytes."
        )


def same_kind(schemas: Sequence[tuple[Path, Any]], column: str) -> Any:
    """The type to which the image columns of all files can be cast; None if all have the same type.

    Raises DataError if a file lacks the column, or holds another type than the first file.
    """
    import pyarrow as pa

    kinds: dict[Any, Path] = {}
    for file, schema in schemas:
        if column not in schema.names:
            raise DataError(
                f"{file} has no column {column!r}, which {schemas[0][0]} has; it has {', '.join(schema.names)}."
            )
        kinds.setdefault(schema.field(column).type, file)
    filled = [kind for kind in kinds if not pa.types.is_null(kind)]
    if other := next((kind for kind in filled if plain(kind) != plain(filled[0])), None):
        raise DataError(
            f"Column {column!r} is {filled[0]} in {kinds[filled[0]]} and {other} in {kinds[other]}. Write both in one type, or name one file."
        )
    return plain(filled[0]) if len(kinds) > 1 else None


def shard_labels(shards: Iterable[tuple[Path, Any]], name: str) -> TableLabels:
    """Concatenated labels of all files of a table, joined by class name.

    `shards`: each file with a table that holds its label column, called `name`, if the file has one.
    """
    parts: list[tuple[Path, Labels, bool]] = []
    notes: dict[str, None] = {}
    for file, table in shards:
        if name not in table.schema.names:
            return TableLabels(trouble=f"{file} has no column {name!r}, but other files have it")
        if not len(table.column(name)):
            continue
        shard = _labels(table.column(name), table.schema, name)
        if shard.labels is None:
            return TableLabels(trouble=shard.trouble + (f", in {file}" if parts else ""))
        notes |= {shard.note: None} if shard.note else {}
        parts.append((file, shard.labels, shard.bare))
    if not parts:
        return TableLabels()
    bare = next((file for file, _, bare in parts if bare), None)
    words = next((file for file, labels, _ in parts if not all(map(is_number, labels.names))), None)
    if bare and words:
        return TableLabels(trouble=f"{name!r} is a number without a name in {bare}, but a name in {words}")
    return TableLabels(Labels.joined([labels for _, labels, _ in parts]), note="; ".join(notes))


def _labels(column: Any, schema: Any, name: str) -> TableLabels:
    """Labels of one file, from its label column."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.cast(plain(column.type)) if column.type != plain(column.type) else column
    kind = column.type
    if empty := column.null_count:
        return TableLabels(trouble=f"{empty} rows of its column {name!r} are empty: fill them")
    if pa.types.is_string(kind):
        coded = column.dictionary_encode().combine_chunks()
        coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
        names, numbers = coded.dictionary.to_pylist(), np.asarray(coded.indices, np.int64)
        if empty := int(np.isin(numbers, [i for i, n in enumerate(names) if not canonical(n)]).sum()):
            return TableLabels(trouble=f"{empty} rows of its column {name!r} are empty: fill them")
        return TableLabels(Labels.of(numbers, names), note=several_spellings(names))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return TableLabels(trouble=f"its column {name!r} holds {kind}: store names or numbers")
    values = column.to_numpy()
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if wrong := int(((numbers != values) | (numbers < 0)).sum()):
        return TableLabels(
            trouble=f"{wrong} rows of its column {name!r} are not whole numbers of 0 or more: number the classes from 0"
        )
    return _numbered(numbers, _class_names(schema, name), name)


def _numbered(numbers: Any, names: list[str] | None, column: str) -> TableLabels:
    """Labels from whole numbers, with the class names of the file if it has any."""
    if bare := names is None:
        classes, places = np.unique(numbers, return_inverse=True)
        labels = Labels.of(places.astype(np.int64), [str(number) for number in classes.tolist()])
    elif beyond := int((numbers >= len(names)).sum()):
        return TableLabels(trouble=f"{beyond} rows of its column {column!r} are beyond its {len(names)} class names")
    else:
        labels = Labels.of(numbers, names)
    moved = not np.array_equal(labels.codes, numbers)
    return TableLabels(labels, note=RENUMBERED.format(column) if moved else "", bare=bare)


RENUMBERED = "classes are numbered from 0 in the order of their names, not by the numbers of column {!r}"


def _class_names(schema: Any, label_column: str) -> list[str] | None:
    """Class names from the Hub's metadata, or from a JSON list under `class_names`."""
    metadata = schema.metadata or {}
    try:
        if b"huggingface" in metadata:
            names = json.loads(metadata[b"huggingface"])["info"]["features"][label_column]["names"]
        elif b"class_names" in metadata:
            names = json.loads(metadata[b"class_names"])
        else:
            return None
        return [str(name) for name in names] or None
    except (KeyError, TypeError, ValueError):
        return None
