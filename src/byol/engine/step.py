"""The training step of BYOL, on one page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.engine.micro_batches import MicroBatch
from byol.engine.state import State
from byol.methods.network import MethodOutput
from byol.optim.schedules import learning_rate, scale_tau, target_tau
from byol.runtime.view_roles import ViewBatch

ComputeLoss = Callable[[ViewBatch, Tensor | None, bool], MethodOutput]
"""`state.method` wrapped by `engine.wrap`: (views, labels, whether the micro-batch is the last) -> output."""


@dataclass(frozen=True)
class Schedule:
    """What is set at each step, as a pure function of it (BYOL sections 3.2 and 3.3)."""

    base_learning_rate: float
    batch_size: int
    total_steps: int
    warmup_steps: int
    tau_base: float
    tau_constant: bool = False
    tau_reference_batch: int = 0

    def learning_rate(self, step: int) -> float:
        return learning_rate(
            step,
            base=self.base_learning_rate,
            batch_size=self.batch_size,
            total=self.total_steps,
            warmup=self.warmup_steps,
        )

    def tau(self, step: int) -> float:
        tau = self.tau_base if self.tau_constant else target_tau(step, base=self.tau_base, total=self.total_steps)
        return scale_tau(tau, self.batch_size, self.tau_reference_batch) if self.tau_reference_batch else tau


@dataclass
class StepResult:
    """What a step gives to whoever watches; tensors stay on the device."""

    loss: Tensor
    """Scalar: the mean over the micro-batches of this rank."""
    outputs: list[MethodOutput]
    """Of each micro-batch of this rank, detached."""


def train_step(
    state: State,
    micro_batches: Iterable[MicroBatch],
    num_micro_batches: int,
    compute_loss: ComputeLoss,
    schedule: Schedule,
    *,
    skip_non_finite: bool = False,
) -> StepResult:
    """One optimizer step on the views of `state.step`; gradients are averaged over micro-batches (BYOL section 5).

    With `skip_non_finite` a step whose gradient is not finite changes nothing but the count of such steps; every
    step then waits for the device.
    """
    step = state.step
    state.method.train()
    averages = [buffer.clone() for buffer in state.method.buffers()] if skip_non_finite else []

    outputs = []
    for number, batch in enumerate(micro_batches, start=1):
        output = compute_loss(batch.views, batch.labels, number == num_micro_batches)
        (output.total / num_micro_batches).backward()
        outputs.append(output.detached())

    if skip_non_finite and not _gradients_are_finite(state):
        for buffer, before in zip(state.method.buffers(), averages, strict=True):
            buffer.copy_(before)
        state.num_skipped_steps += 1
    else:
        for group in state.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step) * group.get("rate_multiplier", 1.0)
        state.optimizer.step()
        state.method.update_target(schedule.tau(step))  # after the optimizer, with the same step's tau
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return StepResult(torch.stack([output.loss for output in outputs]).mean(), outputs)


def _gradients_are_finite(state: State) -> bool:
    gradients = [p.grad for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(torch.stack(torch._foreach_norm(gradients)).isfinite().all())
