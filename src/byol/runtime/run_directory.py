"""The run directory: a folder with everything needed to repeat or continue a run."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from byol.errors import RunError
from byol.runtime.files import make_folder, write_atomically, write_json

FORMAT_VERSION = 1
"""Version of the directory's layout, recorded in run.json."""
_locks: set[TextIO] = set()
"""Lock files that this process holds open."""


def _close_inherited_locks() -> None:
    """Closes lock files in a newly forked worker: one that outlives a killed training would keep the run locked."""
    for stream in _locks:
        stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)


class RunDirectory:
    """Paths, JSON files and lock of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.skipped = path / "skipped.jsonl"

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Creates a run directory. Raises RunError if `path` exists and is not an empty folder: nothing is overwritten."""
        cls.require_free(path)
        make_folder(path)
        return cls(path)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises RunError if `path` exists and is not an empty folder."""
        if path.exists() and (not path.is_dir() or any(not f.name.startswith(".run.json.") for f in path.iterdir())):
            is_run = (path / "run.json").exists()
            hint = f"Continue that run with --resume {path}, or" if is_run else "It is not an empty folder:"
            raise RunError(f"{path} exists already. {hint} choose another --out.")

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory. Raises RunError if `path` is no run directory or has another format version."""
        if not path.is_dir():
            raise RunError(f"{path} is not a directory. Give a run directory.")
        run = cls(path)
        version = run.record().get("format_version")
        if version != FORMAT_VERSION:
            raise RunError(f"{path} has format version {version}; this version of byol reads format {FORMAT_VERSION}.")
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Context in which no other process can write here. Raises RunError if another process holds the lock.

        The system releases the lock of a process that dies.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such lock
            yield
            return
        with (self.path / ".lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise RunError(
                    f"Another process ({stream.read().strip() or 'unknown'}) is writing to {self.path}. "
                    f"Wait until it ends, or choose another --out."
                ) from None
            except OSError:  # the file system has no locks
                pass
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}\n")
            stream.flush()
            _locks.add(stream)
            try:
                yield
            finally:
                _locks.discard(stream)

    def record(self) -> dict[str, Any]:
        """Content of run.json. Raises RunError if it is missing or damaged."""
        file = self.path / "run.json"
        try:
            content = json.loads(file.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run directory: it has no run.json.") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read ({error}).") from error
        if not isinstance(content, dict):
            raise RunError(f"{file} does not hold the record of a run.")
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file into the run directory."""
        write_json(self.path / name, content)

    def write_skipped(self, images: Mapping[tuple[str, int | str], tuple[str, str]]) -> None:
        """Adds images that could not be decoded to skipped.jsonl, each once.

        `images`: (name, reason) by (data set, index or name of the image in it).
        """
        if not images:
            return
        rows: dict[int | str, dict[str, Any]] = {}
        if self.skipped.exists():
            for line in self.skipped.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # an incomplete line
                    row = json.loads(line)
                    rows[row.get("place", row["name"])] = row
        for (_, place), (name, reason) in images.items():
            rows[place] = {"name": name, "place": place, "reason": reason}
        write_atomically(self.skipped, "".join(json.dumps(row) + "\n" for row in rows.values()).encode())
