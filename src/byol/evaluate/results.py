"""Where the results of protocols lie: one JSON file each, in the folder `evaluation` of a run."""

from pathlib import Path
from typing import Any

from byol.runtime.files import read_json

FOLDER = "evaluation"


def read_results(run: Path) -> list[dict[str, Any]]:
    """The records of all protocols that were run on what lies in this folder; broken files are left out."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        content = read_json(path)
        if content is not None and "protocol" in content and content.get("metrics"):
            found.append(content)
    return found
