"""The metrics of a run: metrics.jsonl, one JSON object per line."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from byol.errors import RunError
from byol.runtime.files import write_atomically
from byol.runtime.track import Tracker


class MetricsFile:
    """Writer that appends rows to metrics.jsonl. Rows from `first_step` on are dropped: a resumed run writes them again."""

    def __init__(self, path: Path, first_step: int, tracker: Tracker | None = None) -> None:
        self.path = path
        self.tracker = tracker
        earlier = [line for line in _lines(path) if _is_before(line, first_step)]
        write_atomically(path, "".join(line + "\n" for line in earlier).encode())

    def write(self, row: dict[str, Any]) -> None:
        """Appends one row, with null in place of non-finite numbers. Raises RunError if the file cannot be written."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        try:
            with self.path.open("a") as stream:
                stream.write(json.dumps(finite) + "\n")
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be written ({error.strerror}). Free some space, and continue with --resume."
            ) from error
        if self.tracker is not None:
            with contextlib.suppress(OSError):  # this file has the row in any case
                self.tracker.write(finite)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All rows; lines that are no JSON object, such as an incomplete last one, are left out."""
    rows = []
    for line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _is_before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] < step
    except (ValueError, KeyError, TypeError):
        return False
