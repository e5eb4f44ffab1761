"""Callables around the raw method: autocast, memory layout, ranks. The method itself stays as it is."""

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
    """`method` under bf16 autocast (its loss stays float32), with channels-last views, compiled, where asked for.

    With several ranks gradients are averaged over them (DDP), in the last micro-batch of a step alone. Compiled for
    one GPU and whole batches, forward and backward are recorded as CUDA graphs too: what they give, gradients
    included, then lies where the next call writes.
    """
    forward, not_yet = method, contextlib.nullcontext
    if num_ranks > 1:
        devices = [device] if device.type == "cuda" else None
        forward = DistributedDataParallel(method, devices, gradient_as_bucket_view=True)
        not_yet = forward.no_sync

    if compiled:
        recorded = device.type == "cuda" and num_ranks == num_micro_batches == 1
        forward = torch.compile(forward, dynamic=False, mode="reduce-overhead" if recorded else "default")

    def laid_out(view: Tensor) -> Tensor:
        return view.contiguous(memory_format=torch.channels_last) if channels_last else view

    def compute_loss(views: ViewBatch, labels: Tensor | None, last: bool) -> MethodOutput:
        views = views.map(laid_out)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), contextlib.nullcontext() if last else not_yet():
            return forward(views, labels)

    return compute_loss
