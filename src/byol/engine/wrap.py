"""Callables around the raw method: autocast and memory layout. The method itself stays as it is."""

import torch
from torch import Tensor

from byol.engine.step import ComputeLoss
from byol.methods.byol import BYOL, MethodOutput


def wrap(method: BYOL, device: torch.device, *, bf16: bool, channels_last: bool) -> ComputeLoss:
    """`method` under bf16 autocast (its loss stays float32) and with channels-last views, where asked for."""

    def compute_loss(view1: Tensor, view2: Tensor, labels: Tensor | None) -> MethodOutput:
        if channels_last:
            view1 = view1.contiguous(memory_format=torch.channels_last)
            view2 = view2.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return method(view1, view2, labels)

    return compute_loss
