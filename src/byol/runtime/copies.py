"""Copies from memory to the device."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """On CUDA without waiting for it; elsewhere waiting, since the copy may read memory that was let go by then."""
    return tensor.to(device, non_blocking=device.type == "cuda")
