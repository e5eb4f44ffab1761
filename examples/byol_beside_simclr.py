"""BYOL and SimCLR on the same images, with the same encoder, views, batch and number of steps.

    python examples/byol_beside_simclr.py --epochs 2

One seed each, so a point of difference may be chance; `byol study batch-size` repeats it with seeds and intervals.
"""

import argparse
from pathlib import Path

import byol

METHODS = {
    "byol": {},
    "simclr": {"method.name": "simclr", "heads.projector_output_norm": True, "method.temperature": 0.5},
}


def main() -> None:
    """Prints a line for each method, and one for the pixels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="sample", help="labelled images; the labels are for the evaluation alone")
    parser.add_argument("--out", type=Path, default=Path("runs/beside"))
    parser.add_argument("--epochs", type=float, default=2)
    options = parser.parse_args()

    print(f"{'encoder':10} kNN, % [95 % interval over the test images]")
    for name, settings in METHODS.items():
        run = byol.pretrain(
            options.data,
            "sample",
            out=options.out / name,
            epochs=options.epochs,
            overrides=settings,
            say=lambda line: None,
        )
        (result,) = byol.evaluate_encoder(run.path, options.data, ["knn"])
        print(f"{name:10} {result.score}  {run.verdict.partition(':')[0]}")
    (result,) = byol.evaluate_encoder("pixels", options.data, ["knn"], out=options.out / "pixels")
    print(f"{'pixels':10} {result.score}")
    byol.write_report(*(options.out / name for name in METHODS), data=options.data, out=options.out / "report.html")
    print(f"both runs side by side: {options.out / 'report.html'}")


if __name__ == "__main__":
    main()
