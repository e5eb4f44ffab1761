"""One update of LARS and of the target: ResNet-50 with heads of 4096/256, milliseconds per step.

    python -m benchmarks.optimizer [--encoder resnet50]

Rows: ours with torch's operators and with the compiled one, and LARS written as a loop over tensors with the moving
average as one more.
`share_of_step` is of a training step of `--batch` images at `--size` px on this machine, where that is asked for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Record, alternate, arguments, publish, record, rounded, timed
from byol.assembly.networks import build_method
from byol.assembly.training import build_state
from byol.config import Config, replaced
from byol.runtime.ranks import Ranks


def loop_update(state: Any, buffers: dict[Tensor, Tensor], tau: float) -> None:
    """The same formulas, one tensor after the other."""
    with torch.no_grad():
        for group in state.optimizer.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad + group["weight_decay"] * parameter
                if group["adapt"]:
                    weight_norm, gradient_norm = parameter.norm(), gradient.norm()
                    if weight_norm > 0 and gradient_norm > 0:
                        gradient = gradient * (group["trust_coefficient"] * weight_norm / gradient_norm)
                buffer = buffers.setdefault(parameter, torch.zeros_like(parameter))
                buffer.mul_(group["momentum"]).add_(gradient)
                parameter.sub_(buffer, alpha=group["lr"])
        method = state.method
        for slow, fast in zip(method.target.parameters(), method.online.parameters(), strict=True):
            slow.lerp_(fast, 1 - tau)


def made(encoder: str, size: int, seed: int, *, fused: bool = False) -> Any:
    """A state with gradients."""
    settings: dict[str, Any] = {"encoder.name": encoder, "views.size": size, "seed": seed, "device": "cpu"}
    settings |= {"views.mean": [0.5], "views.std": [0.5]}
    config = replaced(Config(), settings)
    state = build_state(config, build_method(config, 3), torch.device("cpu"), Ranks(), fused=fused)
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-3
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    return state


def measure(encoder: str, size: int, rounds: int, repeats: int = 10, seed: int = 0, step_seconds: float = 0) -> Record:
    rows: dict[str, Callable[[], float]] = {}
    for kernels in ("native", "fused"):
        state = made(encoder, size, seed, fused=kernels == "fused")

        def update(state: Any = state) -> None:
            for _ in range(repeats):
                state.optimizer.step()
                state.method.update_target(0.99)

        rows[f"ours, {kernels}"] = timed(update)
    looped, buffers = made(encoder, size, seed), {}

    def loop() -> None:
        for _ in range(repeats):
            loop_update(looped, buffers, 0.99)

    rows["loop over tensors"] = timed(loop)
    alternate(rows, 1)  # the first time makes the momentum
    values = {name: [1e3 * t / repeats for t in row] for name, row in alternate(rows, rounds).items()}
    mine = [name for name in values if name.startswith("ours")]
    shares = {
        name: {"share_of_step": rounded(min(row) / 1e3 / step_seconds)} for name, row in values.items() if step_seconds
    }
    return record(
        "optimizer",
        f"LARS and moving average, {encoder} with heads",
        "ms",
        values,
        ratios=[(one, other) for one in mine for other in values if other != one],
        settings={"encoder": encoder, "repeats": repeats},
        details=shares,
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--step-seconds", type=float, default=0, help="of a training step, for the share of it")
    chosen = parser.parse_args()
    publish(
        measure(chosen.encoder, chosen.size, chosen.rounds, seed=chosen.seed, step_seconds=chosen.step_seconds),
        chosen.out,
    )
