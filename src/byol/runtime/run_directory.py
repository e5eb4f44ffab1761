"""The run directory: one folder from which a run can be repeated."""

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
_locks: set[TextIO] = set()


def _leave_locks_to_the_parent() -> None:
    """In a worker just forked, which may outlive a training that was killed and would keep its run locked."""
    for stream in _locks:
        stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


class RunDirectory:
    """Paths and JSON files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.skipped = path / "skipped.jsonl"

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """A new run directory. Raises RunError where something lies there, so that nothing is overwritten."""
        cls.require_free(path)
        make_folder(path)
        return cls(path)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raises RunError where something lies at `path`."""
        if path.exists() and (not path.is_dir() or any(not f.name.startswith(".run.json.") for f in path.iterdir())):
            hint = f"Continue it with --resume {path}, or" if (path / "run.json").exists() else "It is not empty:"
            raise RunError(f"{path} exists already. {hint} choose another --out.")

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory. Raises RunError where it is none."""
        if not path.is_dir():
            raise RunError(f"{path} is not a directory. Name the directory of a run.")
        run = cls(path)
        version = run.record().get("format_version")
        if version != FORMAT_VERSION:
            raise RunError(f"{path} has format version {version}; this byol reads {FORMAT_VERSION}.")
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a process writes here; one that dies lets go. Raises RunError where another holds it."""
        try:
            import fcntl
        except ImportError:  # Windows: not guarded
            yield
            return
        with (self.path / ".lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise RunError(
                    f"{self.path} is being written by another process ({stream.read().strip() or 'unknown'}). "
                    f"Wait until it ends, or choose another --out."
                ) from None
            except OSError:  # the file system knows no locks: not guarded
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
        """What run.json says. Raises RunError where it is missing or damaged."""
        file = self.path / "run.json"
        try:
            content = json.loads(file.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run directory: it has no run.json.") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read ({error}).") from error
        if not isinstance(content, dict):
            raise RunError(f"{file} does not hold a run.")
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file of the run."""
        write_json(self.path / name, content)

    def write_skipped(self, images: Mapping[tuple[str, int | str], tuple[str, str]]) -> None:
        """Adds the images that could not be decoded, each once: (name, reason) by the data and the place in it."""
        if not images:
            return
        rows: dict[int | str, dict[str, Any]] = {}
        if self.skipped.exists():
            for line in self.skipped.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was not written to its end
                    row = json.loads(line)
                    rows[row.get("place", row["name"])] = row
        for (_, place), (name, reason) in images.items():
            rows[place] = {"name": name, "place": place, "reason": reason}
        write_atomically(self.skipped, "".join(json.dumps(row) + "\n" for row in rows.values()).encode())
