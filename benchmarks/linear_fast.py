"""The linear probe's sweep over 45 L2 strengths beside scikit-learn's LogisticRegression on the same features.

    python -m benchmarks.linear_fast [--num-train 5000] [--num-validation 2000]

Features: a ResNet-18 with new weights (512 features) on the bundled sample, centred and scaled alike for both. Both fit
mean cross-entropy + strength / 2 |W|^2 (bias free) in float32, from strong to weak, each from the one before. `excess` is of
our objective over scikit-learn's, `accuracy` the best strength's on the validation images.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from benchmarks.record import Record, alternate, arguments, publish, record, rounded, timed
from byol.assembly.networks import seeded
from byol.data.sample import open_sample
from byol.data.subset import Subset
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.evaluate import linear
from byol.evaluate.features import extract, labels_of
from byol.evaluate.protocols.linear_fast import PAPER_STRENGTHS
from byol.nets.encoder import create_encoder

TOLERANCE, MAX_ITERATIONS = 1e-4, 1000


def features(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 512) features and labels."""
    with seeded(0):
        module = create_encoder("resnet18", in_channels=1, image_size=28)
    encoder = Encoder(module, EncoderDescription("resnet18", {}, 512, 1, 28, (0.5,), (0.25,), False))
    source = open_sample("train")
    chosen = np.random.default_rng(0).permutation(len(source))[:count]
    found = extract(encoder, Subset(source, chosen, "sample"), 1, torch.device("cpu"))
    return found.vectors, labels_of(found)


def objective(inputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, strength: float) -> float:
    """In float64; the last row of `weight` is the bias."""
    inputs, weight = inputs.double(), weight.double()
    penalty = strength / 2 * weight[:-1].square().sum()
    return float(functional.cross_entropy(inputs @ weight, labels) + penalty)


def measure(num_train: int = 5000, num_validation: int = 2000, rounds: int = 1) -> Record:
    vectors, labels = features(num_train + num_validation)
    mean = vectors[:num_train].mean(dim=0)
    scale = (vectors[:num_train] - mean).square().mean().sqrt()
    inputs = (vectors - mean) / scale
    train, truth, asked = inputs[:num_train], labels[:num_train], labels[num_train:]
    weights: dict[str, list[torch.Tensor]] = {}

    def ours() -> None:
        basis, variance = linear.principal_axes(train)
        along = torch.cat((train @ basis, torch.ones(num_train, 1)), dim=1)
        rotated = linear.path(along, truth, 10, PAPER_STRENGTHS, variance)
        weights["ours"] = [torch.cat((basis @ weight[:-1], weight[-1:])) for weight in rotated]

    def theirs() -> None:
        model = LogisticRegression(tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
        weights["scikit-learn"] = []
        for strength in PAPER_STRENGTHS:
            model.C = 1 / (strength * num_train)
            model.fit(train.numpy(), truth.numpy())
            found = np.vstack((model.coef_.T, model.intercept_)).astype(np.float32)
            weights["scikit-learn"].append(torch.from_numpy(found))

    found = alternate({"ours": timed(ours), "scikit-learn": timed(theirs)}, rounds)
    extended = torch.cat((inputs, torch.ones(len(inputs), 1)), dim=1)
    excess = [
        objective(extended[:num_train], truth, one, s) - objective(extended[:num_train], truth, other, s)
        for one, other, s in zip(weights["ours"], weights["scikit-learn"], PAPER_STRENGTHS, strict=True)
    ]
    reached = {
        name: max(float((extended[num_train:] @ w).argmax(1).eq(asked).float().mean()) for w in fitted)
        for name, fitted in weights.items()
    }
    details: dict[str, dict[str, float]] = {name: {"accuracy": rounded(100 * value)} for name, value in reached.items()}
    details["ours"] |= {"least_excess": rounded(min(excess)), "largest_excess": rounded(max(excess))}
    return record(
        "linear_fast",
        f"Linear probe, {len(PAPER_STRENGTHS)} strengths on {num_train} x {vectors.shape[1]}",
        "s",
        found,
        ratios=[("ours", "scikit-learn")],
        settings={"num_train": num_train, "num_validation": num_validation},
        details=details,
    )


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--num-train", type=int, default=5000)
    parser.add_argument("--num-validation", type=int, default=2000)
    chosen = parser.parse_args()
    publish(measure(chosen.num_train, chosen.num_validation, chosen.rounds), chosen.out)
