"""Copies from memory to the device."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. The copy is asynchronous on CUDA.

    On other devices an asynchronous copy could read memory that was freed meanwhile.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
