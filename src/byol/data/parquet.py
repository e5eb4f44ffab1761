"""A source that reads parquet files: one, or all below a folder, partitioned (`label=cat/0.parquet`) or not."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from byol.data.arrow import ArrowImages
from byol.data.spec import NO_DATA, DataSpec
from byol.data.table import (
    LABEL_COLUMNS,
    SAMPLED_ROWS,
    TableImages,
    TableLabels,
    find_columns,
    holds_images,
    same_kind,
    shard_labels,
)
from byol.errors import DataError
from byol.runtime.locks import one_at_a_time
from byol.runtime.paths import cache_folder

MEMORY_LIMIT_BYTES = 2 * 1024**3
"""Largest size of the files that is read into memory. Larger sets are written to the cache folder as Arrow and mapped."""


def open_parquet(
    path: Path | list[Path],
    limit_bytes: int = MEMORY_LIMIT_BYTES,
    cache: Path | None = None,
    description: str = "",
    spec: DataSpec = NO_DATA,
    labelled: bool = True,
) -> TableImages:
    """Opens one parquet file, several in one folder, or all below a folder in the order of their paths.

    If the folders are partitions by label and the files have no label column, the partition is the label. Paths in the
    files are relative to the folder. `labelled`: whether labels are read, too. Raises DataError if a file cannot be read, holds no images, or has an image column of
    another type than the first file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = path if isinstance(path, list) else parquet_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(
            f"{path} holds no parquet file that can be reached without following links; name the files' own folder."
        )
    folder = path if isinstance(path, Path) and path.is_dir() else files[0].parent
    description = description or f"parquet {path}"
    try:
        schemas = [(file, pq.read_schema(file)) for file in files]
        columns = find_columns([schema for _, schema in schemas], str(files[0]), spec, _first_rows(files[0]))
        kind = same_kind(schemas, columns.image)
        labels = read_labels(files, folder, columns.label) if labelled else TableLabels()
        if sum(file.stat().st_size for file in files) <= limit_bytes:
            parts = [pq.ParquetFile(file).read([columns.image]).column(0) for file in files]
            chunks = [chunk for part in parts for chunk in (part if kind is None else part.cast(kind)).chunks]
            column = pa.chunked_array(chunks, kind or parts[0].type)
            images = TableImages(column, folder, description, columns, labels)
        else:
            arrow_file = _as_arrow(files, columns.image, kind, cache or cache_folder("parquet"))
            images = ArrowImages([arrow_file], folder, description, columns, labels)
        images.files = files
        return images
    except (pa.ArrowException, OSError) as error:
        place = folder if len(files) > 1 else files[0]
        raise DataError(f"{place} cannot be read as parquet ({str(error).splitlines()[0]}).") from error


def parquet_files(folder: Path) -> list[Path]:
    """Sorted parquet files below a folder, without the hidden ones."""
    paths = [file for file in folder.rglob("*") if file.suffix.lower() == ".parquet"]
    return sorted(
        file for file in paths if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    )


def file_columns(file: Path) -> list[str]:
    """Names of the columns of a parquet file that hold files, such as images. Raises DataError if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet ({str(error).splitlines()[0]}).") from error
    return [name for name in schema.names if holds_images(schema.field(name).type)]


def parquet_classes(files: list[Path], spec: DataSpec) -> tuple[str, ...]:
    """The classes of parquet files, found without reading their images. Raises DataError if a file cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = find_columns([pq.read_schema(file) for file in files], str(files[0]), spec, _first_rows(files[0]))
        labels = read_labels(files, files[0].parent, columns.label).labels
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{files[0]} cannot be read as parquet ({str(error).splitlines()[0]}).") from error
    return labels.names if labels else ()


def _first_rows(file: Path) -> Callable[[str], list[Any]]:
    """A function that reads the first values of a column."""

    def rows(column: str) -> list[Any]:
        import pyarrow.parquet as pq

        batch = next(pq.ParquetFile(file).iter_batches(SAMPLED_ROWS, columns=[column]), None)
        return batch.column(0).to_pylist() if batch else []

    return rows


def read_labels(files: list[Path], folder: Path, column: str | None) -> TableLabels:
    """Concatenated labels of all files, from their label column or from the partitions by label that the files are in."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if column is not None:
        opened = ((file, pq.ParquetFile(file)) for file in files)
        return shard_labels(
            ((file, table.read([column] if column in table.schema_arrow.names else [])) for file, table in opened),
            column,
        )
    partitions = _partitions(files, folder)
    rows = ((file, pq.read_metadata(file).num_rows) for file in files)
    shards = ((file, pa.table({"label": pa.array([partitions[file]] * count, pa.string())})) for file, count in rows)
    return shard_labels(shards, "label") if partitions else TableLabels()


def _partitions(files: list[Path], folder: Path) -> dict[Path, str]:
    """Value of the partition by label of each file; empty unless every file is in one."""
    values: dict[Path, str] = {}
    for file in files:
        for part in file.relative_to(folder).parts[:-1]:
            name, equals, value = part.partition("=")
            if equals and name in LABEL_COLUMNS:
                values[file] = unquote(value)
    return values if len(values) == len(files) else {}


def _as_arrow(files: list[Path], column: str, kind: Any, cache: Path) -> Path:
    """Writes the image column of all files to one Arrow file, row group by row group, unless an up-to-date one exists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    arrow_file = cache / f"{hashlib.sha256(repr((state, column, str(kind))).encode()).hexdigest()[:32]}.arrow"
    if arrow_file.exists():
        return arrow_file
    temporary = arrow_file.with_suffix(f".{os.getpid()}.part")
    with one_at_a_time(cache):
        if arrow_file.exists():  # another rank has written it meanwhile
            return arrow_file
        try:
            writer: Any = None
            for file in files:
                parquet_file = pq.ParquetFile(file)
                for group in range(parquet_file.num_row_groups):
                    images = parquet_file.read_row_group(group, columns=[column]).column(0)
                    rows = pa.table({column: images if kind is None else images.cast(kind)})
                    writer = writer or pa.ipc.new_stream(str(temporary), rows.schema)
                    writer.write_table(rows)
            if writer is None:
                raise DataError(f"{files[0].parent} has no rows.")
            writer.close()
            os.replace(temporary, arrow_file)
        finally:
            temporary.unlink(missing_ok=True)
    return arrow_file
