"""Arrow files, mapped into memory: data sets that the Hugging Face library saved to disk, and our own cache."""

import json
from pathlib import Path
from typing import Any

from byol.data.table import TableImages
from byol.errors import DataError


class ArrowImages(TableImages):
    """The rows of Arrow stream files. Pickled by their paths alone, so that workers map the same pages."""

    def __init__(self, files: list[Path], folder: Path, description: str) -> None:
        import pyarrow as pa

        try:
            table = pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in files])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{description} cannot be read as Arrow ({str(error).splitlines()[0]}).") from error
        super().__init__(table, folder, description)
        self.arguments = files, folder, description

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowImages, self.arguments, self.kept()


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` wrote it."""
    return (folder / "state.json").is_file() and any(folder.glob("*.arrow"))


def open_saved_dataset(folder: Path) -> ArrowImages:
    """What `datasets.Dataset.save_to_disk` wrote. Raises DataError where its list of files is damaged."""
    try:
        names = [entry["filename"] for entry in json.loads((folder / "state.json").read_text())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'} is not the list of files of a saved data set ({error}).") from error
    files = [folder / name for name in names]
    if not files or any(file.resolve().parent != folder.resolve() or not file.is_file() for file in files):
        raise DataError(
            f"{folder / 'state.json'} names files that are not in the folder: {', '.join(map(str, names))}."
        )
    return ArrowImages(files, folder, f"Hugging Face data set {folder}")
