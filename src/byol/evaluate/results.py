"""Where the results of protocols lie: one JSON file each, in the folder `evaluation` of a run."""

import json
from pathlib import Path
from typing import Any

FOLDER = "evaluation"


def read_results(run: Path) -> list[dict[str, Any]]:
    """The records of all protocols that were run on what lies in this folder; broken files are left out."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "protocol" in content and content.get("metrics"):
            found.append(content)
    return found
