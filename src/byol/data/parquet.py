"""Parquet files: one, or all below a folder, partitioned (`label=cat/0.parquet`) or not."""

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from byol.data.arrow import ArrowImages
from byol.data.table import LABEL_COLUMNS, TableImages, columns
from byol.errors import DataError
from byol.runtime.locks import one_at_a_time
from byol.runtime.paths import cache_folder

MEMORY_LIMIT_BYTES = 2 * 1024**3
"""Larger sets are written once to the cache folder as Arrow, which is mapped and not read."""


def open_parquet(
    path: Path | list[Path], limit_bytes: int = MEMORY_LIMIT_BYTES, cache: Path | None = None, description: str = ""
) -> TableImages:
    """The rows of one parquet file, of several in one folder, or of all below a folder in the order of their paths.

    Where the folders are partitions by label and the files have no label of their own, the partition is the label.
    Paths in the files are relative to the folder. Raises DataError where a file cannot be read, holds no images, or differs in its columns from the first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = path if isinstance(path, list) else _below(path) if path.is_dir() else [path]
    if not files:
        raise DataError(
            f"{path} holds no parquet file that can be reached without following links; name the files' own folder."
        )
    folder = path if isinstance(path, Path) and path.is_dir() else files[0].parent
    description = description or f"parquet {path}"
    try:
        image, label = columns(pq.read_schema(files[0]), str(files[0]))
        wanted = [image] if label is None else [image, label]
        partitions = _partitions(files, folder) if label is None else {}
        if sum(file.stat().st_size for file in files) <= limit_bytes:
            read = [_with_label(pq.ParquetFile(file).read(wanted), file, partitions) for file in files]
            return TableImages(pa.concat_tables(read), folder, description)
        return ArrowImages(
            [_as_arrow(files, wanted, partitions, cache or cache_folder("parquet"))], folder, description
        )
    except (pa.ArrowException, OSError) as error:
        place = folder if len(files) > 1 else files[0]
        raise DataError(f"{place} cannot be read as parquet ({str(error).splitlines()[0]}).") from error


def _below(folder: Path) -> list[Path]:
    """All files of a folder that are not hidden."""
    found = [file for file in folder.rglob("*") if file.suffix.lower() == ".parquet"]
    return sorted(
        file for file in found if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    )


def _partitions(files: list[Path], folder: Path) -> dict[Path, tuple[str, str]]:
    """Name and value of the partition by label that each file lies in; empty where not every file does."""
    found: dict[Path, tuple[str, str]] = {}
    for file in files:
        for part in file.relative_to(folder).parts[:-1]:
            name, equals, value = part.partition("=")
            if equals and name in LABEL_COLUMNS:
                found[file] = name, unquote(value)
    return found if len(found) == len(files) else {}


def _with_label(rows: Any, file: Path, partitions: dict[Path, tuple[str, str]]) -> Any:
    import pyarrow as pa

    if file not in partitions:
        return rows
    name, value = partitions[file]
    return rows.append_column(name, pa.array([value] * rows.num_rows, pa.string()))


def _as_arrow(files: list[Path], wanted: list[str], partitions: dict[Path, tuple[str, str]], cache: Path) -> Path:
    """The same rows in one Arrow file, made by row groups; made again where a parquet file changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    made = cache / f"{hashlib.sha256(repr((state, wanted, list(partitions.values()))).encode()).hexdigest()[:32]}.arrow"
    if made.exists():
        return made
    temporary = made.with_suffix(f".{os.getpid()}.part")
    with one_at_a_time(cache):
        if made.exists():  # by another rank
            return made
        try:
            writer: Any = None
            for file in files:
                opened = pq.ParquetFile(file)
                for group in range(opened.num_row_groups):
                    rows = _with_label(opened.read_row_group(group, columns=wanted), file, partitions)
                    writer = writer or pa.ipc.new_stream(str(temporary), rows.schema)
                    writer.write_table(rows)
            if writer is None:
                raise DataError(f"{files[0].parent} has no rows.")
            writer.close()
            os.replace(temporary, made)
        finally:
            temporary.unlink(missing_ok=True)
    return made
