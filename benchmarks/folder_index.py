"""Time and memory of indexing a folder of many images, first and again.

    python -m benchmarks.folder_index [--files 1000000] [--folders 1000]

Makes empty files in a temporary folder (indexing reads names only) and prints one JSON object.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from byol.data.image_folder import ImageFolder
from byol.runtime.hardware import describe_machine


def main(files: int, folders: int) -> dict:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "images"
        for folder in range(folders):
            (root / f"class{folder:04d}").mkdir(parents=True)
            for file in range(files // folders):
                (root / f"class{folder:04d}" / f"photo_{file:07d}.jpg").touch()
        before = peak_megabytes()
        seconds, counts = [], []
        for _ in range(2):
            began = time.perf_counter()
            counts.append(len(ImageFolder(root, Path(place) / "cache")))
            seconds.append(round(time.perf_counter() - began, 2))
        grown = peak_megabytes() - before
    return {
        "benchmark": "folder_index",
        "files": counts[0],
        "folders": folders,
        "first_seconds": seconds[0],
        "again_seconds": seconds[1],
        "memory_growth_megabytes": round(grown),
        "machine": describe_machine(torch.device("cpu")),
    }


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1_000)
    chosen = parser.parse_args()
    print(json.dumps(main(chosen.files, chosen.folders), indent=2))
