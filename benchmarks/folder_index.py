"""Time and memory of indexing a folder of many images, first and again.

    python -m benchmarks.folder_index [--files 1000000] [--folders 1000]

Makes empty files in a temporary folder: indexing reads names only.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.record import Record, arguments, peak_megabytes, publish, record
from byol.data.image_folder import ImageFolder


def time_index(files: int, folders: int) -> dict[str, float]:
    """Seconds of the first and the second time, and how much the peak of memory grew."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "images"
        for folder in range(folders):
            (root / f"class{folder:04d}").mkdir(parents=True)
            for file in range(files // folders):
                (root / f"class{folder:04d}" / f"photo_{file:07d}.jpg").touch()
        before = peak_megabytes()
        found: dict[str, float] = {}
        for name in ("first", "again"):
            began = time.perf_counter()
            count = len(ImageFolder(root, Path(place) / "cache"))
            found[name] = time.perf_counter() - began
            if count != files // folders * folders:
                raise RuntimeError(f"{count} files found of {files}")
        return {**found, "growth_megabytes": peak_megabytes() - before}


def measure(files: int, folders: int, rounds: int) -> Record:
    found = [time_index(files, folders) for _ in range(rounds)]
    return record(
        "folder_index",
        f"Index of {files} files in {folders} folders",
        "s",
        {name: [one[name] for one in found] for name in ("first", "again")},
        ratios=[("again", "first")],
        settings={"files": files, "folders": folders},
        details={"first": {"growth_megabytes": round(max(one["growth_megabytes"] for one in found))}},
    )


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1_000)
    chosen = parser.parse_args()
    publish(measure(chosen.files, chosen.folders, chosen.rounds), chosen.out)
