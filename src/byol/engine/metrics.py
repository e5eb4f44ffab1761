"""The run's numbers as JSON lines."""

import json
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends one JSON object a line, after dropping what a resumed run is about to write again."""

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        kept = [line for line in path.read_text().splitlines() if _before(line, first_step)] if path.exists() else []
        path.write_text("".join(line + "\n" for line in kept))

    def write(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All rows; an unfinished last line is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] < step
    except (ValueError, KeyError, TypeError):
        return False
