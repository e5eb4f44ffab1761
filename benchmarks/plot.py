"""Results as a picture and as Markdown: one panel per record, medians with their smallest and largest values.

python -m benchmarks.plot benchmarks/results/*.json --out docs/benchmarks.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.record import Record, table


def draw(records: list[Record], out: Path) -> None:
    """Horizontal bars; ours in another colour."""
    heights = [0.8 + 0.32 * len(found["rows"]) for found in records]
    figure, axes = pyplot.subplots(
        len(records),
        figsize=(9, sum(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    for found, place in zip(records, axes[:, 0], strict=True):
        rows = found["rows"][::-1]
        medians = [row["median"] for row in rows]
        spread = [[r["median"] - r["min"] for r in rows], [r["max"] - r["median"] for r in rows]]
        colours = ["#1f6fb4" if row["name"].startswith("ours") else "#b0b7bf" for row in rows]
        place.barh([row["name"] for row in rows], medians, xerr=spread, color=colours, ecolor="#333333")
        better = "more" if found["higher_is_better"] else "less"
        where = found["machine"]["processor"].replace("(R)", "")
        place.set_title(f"{found['what']} ({found['unit']}; {better} is better; {where})", fontsize=9, loc="left")
        place.tick_params(labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=130)
    pyplot.close(figure)


def main(files: list[str], out: str) -> None:
    records = [json.loads(Path(file).read_text()) for file in files]
    print("\n\n".join(f"`{found['command']}`\n\n{table(found)}" for found in records))
    if out:
        draw(records, Path(out))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", default="", help="the picture, e.g. docs/benchmarks.png")
    chosen = parser.parse_args()
    main(chosen.files, chosen.out)
