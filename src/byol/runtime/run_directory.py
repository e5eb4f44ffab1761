"""The run directory: a folder with everything needed to repeat or continue a run."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from byol.errors import RunError
from byol.runtime.files import make_folder, write_atomically, write_json
from byol.runtime.locks import alone

FORMAT_VERSION = 1
"""Version of the directory's layout, recorded in run.json."""


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

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Context in which no other process can write here. Raises RunError if another process holds the lock.

        The system releases the lock of a process that dies.
        """
        return alone(
            self.path,
            lambda holder: (
                f"Another process ({holder}) is writing to {self.path}. Wait until it ends, or choose another --out."
            ),
        )

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
