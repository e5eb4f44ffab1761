"""Wrapping of a method for training: autocast, memory layout, compilation, ranks. The method itself is unchanged."""

import contextlib

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from byol.engine.step import ComputeLoss
from byol.methods.network import Method, MethodOutput
from byol.runtime.view_roles import ViewBatch


def wrap(
    method: Method,
    device: torch.device,
    *,
    bf16: bool,
    channels_last: bool,
    compiled: bool = False,
    num_ranks: int = 1,
    num_micro_batches: int = 1,
) -> ComputeLoss:
    """Function that computes `method` with the options: bf16 autocast (float32 loss), channels-last views, compilation.

    With several ranks DDP averages the gradients over them, only in the last micro-batch of a step. On one GPU without
    micro-batches, compiled forward and backward are recorded as CUDA graphs: the next call overwrites their outputs and
    gradients.
    """
    forward, without_averaging = method, contextlib.nullcontext
    if num_ranks > 1:
        devices = [device] if device.type == "cuda" else None
        forward = DistributedDataParallel(method, devices, gradient_as_bucket_view=True)
        without_averaging = forward.no_sync

    if compiled:
        recorded = device.type == "cuda" and num_ranks == num_micro_batches == 1
        forward = torch.compile(forward, dynamic=False, mode="reduce-overhead" if recorded else "default")

    def in_layout(view: Tensor) -> Tensor:
        return view.contiguous(memory_format=torch.channels_last) if channels_last else view

    def compute_loss(views: ViewBatch, labels: Tensor | None, last: bool) -> MethodOutput:
        views = views.map(in_layout)
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
            contextlib.nullcontext() if last else without_averaging(),
        ):
            return forward(views, labels)

    return compute_loss
