"""Do the compiled operators train as well as torch's? kNN accuracy over seeds, with intervals that ought to overlap.

    python -m benchmarks.kernel_seeds [--seeds 5] [--epochs 2]

Trains on the bundled sample with its recipe (ResNet-10, bf16 where the processor computes in it) with either kind of
operators and scores kNN (k 20, T 0.1) on its test images.
"""

import tempfile
from pathlib import Path

import torch

import byol
from benchmarks.record import Record, arguments, publish, record, rounded
from byol.data.labelled import labelled_splits
from byol.evaluate.features import extract
from byol.evaluate.knn import knn_predict
from byol.studies.judge import over_seeds

KINDS = ("native", "fused")


def accuracy(kernels: str, seed: int, epochs: float) -> float:
    """kNN accuracy in percent on the sample's test images after a training with these operators."""
    with tempfile.TemporaryDirectory() as place:
        overrides = {"kernels": kernels, "seed": seed, "epochs": epochs}
        run = byol.pretrain("sample", "sample", out=Path(place) / "run", overrides=overrides, say=lambda _: None)
        encoder = run.encoder()
        bank, queries = (extract(encoder, part, 1, torch.device("cpu")) for part in labelled_splits("sample"))
    assert bank.labels is not None and queries.labels is not None
    found = knn_predict(bank.vectors, bank.labels, queries.vectors, k=20, temperature=0.1)
    return 100 * float((found == queries.labels).float().mean())


def measure(seeds: int, epochs: float, first_seed: int = 0) -> Record:
    values: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(first_seed, first_seed + seeds):
        for kind in KINDS:
            values[kind].append(accuracy(kind, seed, epochs))
    intervals = {}
    for kind in KINDS:
        score = over_seeds(values[kind])
        intervals[kind] = {"mean": rounded(score.value), "low": rounded(score.low), "high": rounded(score.high)}
    return record(
        "kernel_seeds",
        f"kNN accuracy on the bundled sample after {epochs:g} epochs, one value a seed, Student's 95 % interval",
        "%",
        values,
        higher_is_better=True,
        settings={"epochs": epochs, "seeds": seeds},
        details=intervals,
        seed=first_seed,
    )


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=2.0)
    given = parser.parse_args(argv)
    publish(measure(given.seeds, given.epochs, given.seed), given.out)


if __name__ == "__main__":
    main()
