"""Made-up encodings that the tests of several measures share."""

import math

import numpy as np
import torch


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def rotation(dimension: int) -> torch.Tensor:
    return torch.linalg.qr(drawn(dimension, dimension, seed=9)).Q


def units(vectors: torch.Tensor) -> np.ndarray:
    return np.stack([v / math.sqrt(sum(x * x for x in v)) for v in vectors.numpy()])


SKEWED = drawn(60, 24) * torch.arange(1, 25) ** -1.0 + 0.3
"""Encodings whose dimensions differ in spread."""
