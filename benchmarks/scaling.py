"""Whether time grows linearly: of a step with the batch and with the pixels, of indexing with the number of images.

    python -m benchmarks.scaling

Three sizes each, each twice or four times the one before; `per_unit` is time by size, relative to the smallest: 1 is
linear, more is worse.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.folder_index import time_index
from benchmarks.images import write_folder
from benchmarks.record import Record, alternate, arguments, in_child, publish, record, rounded

BATCHES, SIDES, FILES = (64, 128, 256), (32, 64, 128), (25_000, 100_000, 400_000)


def measure(
    batches: tuple[int, ...] = BATCHES,
    sides: tuple[int, ...] = SIDES,
    files: tuple[int, ...] = FILES,
    encoder: str = "resnet18",
    batch_of_sides: int = 32,
    rounds: int = 2,
    seed: int = 0,
) -> Record:
    units: dict[str, float] = {}
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        folders = {s: write_folder(Path(place) / str(s), "", max(*batches, 64), s, seed) for s in {*sides, sides[0]}}

        def step(size: int, batch: int) -> float:
            task = {"name": "ours", "data": str(folders[size]), "encoder": encoder, "size": size, "batch": batch}
            return statistics.median(in_child("benchmarks.trainings", {**task, "seed": seed})["seconds"])

        for batch in batches:
            name = f"step, batch {batch}"
            units[name], rows[name] = batch / batches[0], lambda batch=batch: step(sides[0], batch)
        for side in sides:
            name = f"step, {side} px"
            units[name], rows[name] = (side / sides[0]) ** 2, lambda side=side: step(side, batch_of_sides)
        for count in files:
            name = f"index of {count} files"
            units[name], rows[name] = count / files[0], lambda count=count: time_index(count, 100)["first"]
        found = alternate(rows, rounds)
    medians = {name: statistics.median(row) for name, row in found.items()}
    details, first = {}, 0.0
    for name, median in medians.items():
        first = median if units[name] == 1 else first
        details[name] = {"per_unit": rounded(median / units[name] / first)}
    return record(
        "scaling",
        f"Time against batch, pixels ({encoder}) and number of images",
        "s",
        found,
        settings={"encoder": encoder, "batch_of_sides": batch_of_sides, "stem": "small"},
        details=details,
        seed=seed,
    )


if __name__ == "__main__":
    chosen = arguments(__doc__, rounds=2).parse_args()
    publish(measure(rounds=chosen.rounds, seed=chosen.seed), chosen.out)
