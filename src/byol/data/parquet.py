"""Parquet files: one, or all below a folder."""

import hashlib
import os
from pathlib import Path
from typing import Any

from byol.data.arrow import ArrowImages
from byol.data.table import TableImages, columns
from byol.errors import DataError

MEMORY_LIMIT_BYTES = 2 * 1024**3
"""Larger sets are written once to the cache folder as Arrow, which is mapped and not read."""
DEFAULT_CACHE = Path("~/.cache/byol/parquet").expanduser()


def open_parquet(path: Path, limit_bytes: int = MEMORY_LIMIT_BYTES, cache: Path = DEFAULT_CACHE) -> TableImages:
    """The rows of one parquet file, or of all files below a folder in the order of their paths.

    Raises DataError where a file cannot be read, holds no images, or differs in its columns from the first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    try:
        wanted = [name for name in columns(pq.read_schema(files[0]), str(files[0])) if name]
        if sum(file.stat().st_size for file in files) <= limit_bytes:
            table = pa.concat_tables([pq.read_table(file, columns=wanted) for file in files])
            return TableImages(table, files[0].parent, f"parquet {path}")
        return ArrowImages([_as_arrow(files, wanted, cache)], files[0].parent, f"parquet {path}")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]}).") from error


def _as_arrow(files: list[Path], wanted: list[str], cache: Path) -> Path:
    """The same rows in one Arrow file, made by row groups; made again where a parquet file changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    made = cache / f"{hashlib.sha256(repr((state, wanted)).encode()).hexdigest()[:32]}.arrow"
    if made.exists():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    temporary = made.with_suffix(f".{os.getpid()}.part")
    try:
        writer: Any = None
        for file in files:
            opened = pq.ParquetFile(file)
            for group in range(opened.num_row_groups):
                rows = opened.read_row_group(group, columns=wanted)
                writer = writer or pa.ipc.new_stream(str(temporary), rows.schema)
                writer.write_table(rows)
        if writer is None:
            raise DataError(f"{files[0].parent} has no rows.")
        writer.close()
        os.replace(temporary, made)
    finally:
        temporary.unlink(missing_ok=True)
    return made
