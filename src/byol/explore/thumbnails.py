"""Thumbnails that are kept in a file after they were first asked for."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

TABLE = "CREATE TABLE IF NOT EXISTS thumbnails (image BLOB, side INTEGER, content BLOB, PRIMARY KEY (image, side)) WITHOUT ROWID"


class Thumbnails:
    """Contents of picture files by image key and side, in one SQLite file. Several threads may use it.

    A file that cannot be written costs time alone: the pictures are made again. A damaged one is deleted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._run(TABLE)
        except sqlite3.OperationalError:  # it cannot be written
            pass
        except sqlite3.DatabaseError:
            with suppress(OSError, sqlite3.Error):
                file.unlink()
                self._run(TABLE)

    def get(self, key: bytes, side: int, make: Callable[[], bytes]) -> bytes:
        """The kept content; if there is none, that which `make` returns, which is kept."""
        with suppress(sqlite3.Error):
            if kept := self._run("SELECT content FROM thumbnails WHERE image = ? AND side = ?", key, side):
                return kept[0]
        content = make()
        with suppress(sqlite3.Error):
            self._run("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", key, side, content)
        return content

    def _run(self, command: str, *values: bytes | int) -> tuple[bytes] | None:
        """The first row of the command's result. Raises sqlite3.Error."""
        with closing(sqlite3.connect(self._file, timeout=1, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")  # what a loss of power takes is made again
            return database.execute(command, values).fetchone()
