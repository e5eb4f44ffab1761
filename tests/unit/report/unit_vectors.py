"""Unit vectors in tight groups."""

import torch
from torch.nn import functional


def blobs(num_blobs: int = 3, each: int = 20, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """((N, width) unit vectors in tight groups, (N,) group)."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(width)[:num_blobs]
    labels = torch.arange(num_blobs).repeat_interleave(each)
    return functional.normalize(centres[labels] + 0.05 * torch.randn(len(labels), width, generator=generator)), labels
