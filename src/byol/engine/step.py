"""The training step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.engine.micro_batches import MicroBatch
from byol.engine.schedule import Schedule
from byol.engine.state import State
from byol.methods.network import MethodOutput
from byol.runtime.view_roles import ViewBatch

ComputeLoss = Callable[[ViewBatch, Tensor | None, bool], MethodOutput]
"""Function (views, labels, whether the micro-batch is the step's last) -> output: `state.method` wrapped by `engine.wrap`."""


@dataclass
class StepResult:
    """Result of a training step; tensors stay on the device."""

    loss: Tensor
    """Scalar loss, the mean over this rank's micro-batches."""
    outputs: list[MethodOutput]
    """Detached output for each of this rank's micro-batches."""


def train_step(
    state: State,
    micro_batches: Iterable[MicroBatch],
    num_micro_batches: int,
    compute_loss: ComputeLoss,
    schedule: Schedule,
    *,
    skip_non_finite: bool = False,
) -> StepResult:
    """Makes one optimizer step on the views of `state.step`; gradients are averaged over micro-batches (BYOL section 5).

    With `skip_non_finite` a step with a non-finite gradient only increases `state.step` and the count of skipped steps.
    The check makes every step wait for the device.
    """
    step = state.step
    state.method.train()
    saved_buffers = [buffer.clone() for buffer in state.method.buffers()] if skip_non_finite else []

    outputs = []
    for number, batch in enumerate(micro_batches, start=1):
        output = compute_loss(batch.views, batch.labels, number == num_micro_batches)
        (output.total / num_micro_batches).backward()
        outputs.append(output.detached())

    if skip_non_finite and not _gradients_are_finite(state):
        for buffer, saved in zip(state.method.buffers(), saved_buffers, strict=True):
            buffer.copy_(saved)
        state.num_skipped_steps += 1
    else:
        for group in state.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step) * group.get("rate_multiplier", 1.0)
        state.optimizer.step()
        state.method.update_target(schedule.tau(step))  # after the optimizer's update, with tau of the same step
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return StepResult(torch.stack([output.loss for output in outputs]).mean(), outputs)


def _gradients_are_finite(state: State) -> bool:
    gradients = [p.grad for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(torch.stack(torch._foreach_norm(gradients)).isfinite().all())
