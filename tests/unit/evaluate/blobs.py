"""Features in three blobs, and scores of classes that lean to the truth."""

import torch

GENERATOR = torch.Generator().manual_seed(0)


def blobs(count: int, spread: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 3
    centres = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
    return centres[labels] + spread * torch.randn(count, 4, generator=GENERATOR), labels


def scored(count: int = 300, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(classes, (count,), generator=GENERATOR)
    scores = torch.randn(count, classes, generator=GENERATOR)
    scores[torch.arange(count), labels] += 0.7
    return scores, labels
