"""Arrow files, mapped into memory: data sets saved to disk by the Hugging Face library, and the cache of this package."""

import json
from pathlib import Path
from typing import Any

from byol.data.spec import DataSpec
from byol.data.table import SAMPLED_ROWS, Columns, TableImages, TableLabels, find_columns, same_kind, shard_labels
from byol.errors import DataError


class ArrowImages(TableImages):
    """The rows of Arrow stream files. Pickles hold the paths only, so that workers map the same pages."""

    def __init__(
        self, files: list[Path], folder: Path, description: str, columns: Columns, labels: TableLabels
    ) -> None:
        import pyarrow as pa

        tables = _mapped(files, description)
        kind = same_kind([(file, table.schema) for file, table in zip(files, tables, strict=True)], columns.image)
        parts = [table.column(columns.image) for table in tables]
        chunks = [chunk for part in parts for chunk in (part if kind is None else part.cast(kind)).chunks]
        super().__init__(pa.chunked_array(chunks, kind or parts[0].type), folder, description, columns, labels)
        self.files = files
        self.arguments = files, folder, description, columns, labels

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowImages, self.arguments, self.state_for_workers()


def _mapped(files: list[Path], description: str) -> list[Any]:
    import pyarrow as pa

    try:
        return [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in files]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{description} cannot be read as Arrow ({str(error).splitlines()[0]}).") from error


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` wrote the folder."""
    return (folder / "state.json").is_file() and any(folder.glob("*.arrow"))


def open_saved_dataset(folder: Path, spec: DataSpec) -> ArrowImages:
    """Opens a folder that `datasets.Dataset.save_to_disk` wrote. Raises DataError if its list of files is damaged."""
    try:
        names = [entry["filename"] for entry in json.loads((folder / "state.json").read_text())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'} is not the list of files of a saved data set ({error}).") from error
    files = [folder / name for name in names]
    if not files or any(file.resolve().parent != folder.resolve() or not file.is_file() for file in files):
        raise DataError(
            f"{folder / 'state.json'} names files that are not in the folder: {', '.join(map(str, names))}."
        )
    description = f"Hugging Face data set {folder}"
    tables = _mapped(files, description)
    columns = find_columns(
        [table.schema for table in tables],
        description,
        spec,
        lambda column: tables[0].column(column).slice(0, SAMPLED_ROWS).to_pylist(),
    )
    labels = TableLabels()
    if columns.label is not None:
        labels = shard_labels(zip(files, tables, strict=True), columns.label)
    return ArrowImages(files, folder, description, columns, labels)
