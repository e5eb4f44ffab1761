"""kNN classification of 10,000 features among 50,000, beside scikit-learn's brute force on the same vectors.

    python -m benchmarks.knn [--bank 50000] [--queries 10000] [--width 512] [--k 200]

Vectors are random around 10 centres. Ours is `byol.evaluate.knn.knn_predict`; scikit-learn's has metric cosine. `agree`
is the share of ours' neighbours that scikit-learn finds too (ties and rounding apart, all).
"""

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.record import Record, alternate, arguments, publish, record, rounded, timed
from byol.evaluate.knn import knn_predict
from byol.evaluate.nearest import nearest


def vectors(count: int, width: int, centres: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(count, width) and their (count,) labels."""
    labels = torch.randint(len(centres), (count,), generator=generator)
    return centres[labels] + torch.randn(count, width, generator=generator), labels


def measure(bank_size: int, num_queries: int, width: int, k: int, rounds: int, seed: int = 0) -> Record:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, width, generator=generator) / 2
    bank, labels = vectors(bank_size, width, centres, generator)
    queries, _ = vectors(num_queries, width, centres, generator)
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(bank.numpy(), labels.numpy())
    rows = {
        "ours": timed(lambda: knn_predict(bank, labels, queries, k=k)),
        "scikit-learn": timed(lambda: theirs.predict(queries.numpy())),
    }
    found = alternate(rows, rounds)
    some = queries[: min(200, num_queries)]
    their_places = theirs.kneighbors(some.numpy(), return_distance=False)
    our_places = nearest(some, bank, k)[1].numpy()
    pairs = zip(our_places, their_places, strict=True)
    agree = np.mean([len(np.intersect1d(one, other)) / k for one, other in pairs])
    return record(
        "knn",
        f"kNN of {num_queries} among {bank_size} vectors of {width}, k {k}",
        "s",
        found,
        ratios=[("ours", "scikit-learn")],
        settings={"bank": bank_size, "queries": num_queries, "width": width, "k": k},
        details={"ours": {"agree": rounded(float(agree))}},
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--k", type=int, default=200)
    chosen = parser.parse_args()
    publish(measure(chosen.bank, chosen.queries, chosen.width, chosen.k, chosen.rounds, chosen.seed), chosen.out)
