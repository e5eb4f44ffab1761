"""The linear probe's sweep over 45 L2 strengths beside scikit-learn's LogisticRegression on the same features.

    python -m benchmarks.linear_fast [NUM_TRAIN] [NUM_VALIDATION]

Features: a ResNet-18 with new weights (512 features) on the bundled sample, centred and scaled alike for both. Both fit
mean cross-entropy + strength / 2 |W|^2 (bias free) in float32, from strong to weak, each from the one before. Prints
both times, the worst excess of each one's objective over the other's, and the validation accuracy of the best strength.
"""

import sys
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from byol.build_networks import seeded
from byol.data.sample import open_sample
from byol.data.subset import Subset
from byol.evaluate import linear
from byol.evaluate.features import extract, labels_of
from byol.evaluate.linear_fast import PAPER_STRENGTHS
from byol.export.encoder_file import Encoder, EncoderDescription
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


def main(num_train: int = 5000, num_validation: int = 2000) -> None:
    vectors, labels = features(num_train + num_validation)
    mean = vectors[:num_train].mean(dim=0)
    scale = (vectors[:num_train] - mean).square().mean().sqrt()
    inputs = (vectors - mean) / scale
    train, truth, asked = inputs[:num_train], labels[:num_train], labels[num_train:]

    began = time.perf_counter()
    basis, variance = linear.principal_axes(train)
    along = torch.cat((train @ basis, torch.ones(num_train, 1)), dim=1)
    rotated = linear.path(along, truth, 10, PAPER_STRENGTHS, variance)
    ours = [torch.cat((basis @ weight[:-1], weight[-1:])) for weight in rotated]
    ours_seconds = time.perf_counter() - began
    extended = torch.cat((inputs, torch.ones(len(inputs), 1)), dim=1)

    model = LogisticRegression(tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
    theirs = []
    began = time.perf_counter()
    for strength in PAPER_STRENGTHS:
        model.C = 1 / (strength * num_train)
        model.fit(train.numpy(), truth.numpy())
        theirs.append(torch.from_numpy(np.vstack((model.coef_.T, model.intercept_)).astype(np.float32)))
    their_seconds = time.perf_counter() - began

    excess = [
        objective(extended[:num_train], truth, one, s) - objective(extended[:num_train], truth, other, s)
        for one, other, s in zip(ours, theirs, PAPER_STRENGTHS, strict=True)
    ]
    reached = [
        max(float((extended[num_train:] @ w).argmax(1).eq(asked).float().mean()) for w in found)
        for found in (ours, theirs)
    ]
    print(f"{num_train} x {vectors.shape[1]}, {len(PAPER_STRENGTHS)} strengths, {torch.get_num_threads()} threads")
    print(f"byol          {ours_seconds:7.1f} s  best validation accuracy {100 * reached[0]:.2f} %")
    print(f"scikit-learn  {their_seconds:7.1f} s  best validation accuracy {100 * reached[1]:.2f} %")
    print(
        f"{their_seconds / ours_seconds:.1f} times as fast; objective minus scikit-learn's: {min(excess):.1e} to {max(excess):.1e}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
