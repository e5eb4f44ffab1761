"""Results of evaluation protocols: one JSON file per protocol in the folder `evaluation` of a run."""

from pathlib import Path
from typing import Any

from byol.runtime.files import read_json

FOLDER = "evaluation"


def read_results(run: Path) -> list[dict[str, Any]]:
    """Results of all protocols in a run directory; files that cannot be read are left out."""
    results = []
    for path in sorted((run / FOLDER).glob("*.json")):
        content = read_json(path)
        if content is not None and "protocol" in content and content.get("metrics"):
            results.append(content)
    return results
