"""Closed-form predictors: observing and setting one, beside a training step of the recipe `tonight` with BYOL; milliseconds.

    python -m benchmarks.closed_form --rounds 7

The step has made-up views and a trained linear predictor; its optimizer and its average are included, its views are not.
`share_of_step` is of the medians.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.record import Record, alternate, arguments, publish, record, rounded, timed
from byol.assembly.networks import build_method
from byol.assembly.training import build_state
from byol.config import Config, replaced
from byol.engine.micro_batches import MicroBatch
from byol.engine.schedule import Schedule
from byol.engine.step import train_step
from byol.engine.wrap import wrap
from byol.methods.closed_form import CLOSED_FORMS, ClosedFormPredictor
from byol.recipes import recipe
from byol.runtime.hardware import computes_in_bf16
from byol.runtime.ranks import Ranks
from byol.runtime.view_roles import ViewBatch

CPU = torch.device("cpu")


def training_step(config: Config, seed: int) -> Callable[[], object]:
    """One step of `config` on made-up views."""
    torch.manual_seed(seed)
    n, size, small = config.batch_size, config.views.size, config.asymmetry.small_size
    views = ViewBatch(*((torch.rand(n, 3, size, size),) for _ in range(2)))
    views = replace(views, small=tuple(torch.rand(n, 3, small, small) for _ in range(config.asymmetry.small_crops)))
    state = build_state(config, build_method(config, 3), CPU, Ranks(), fused=True)
    compute_loss = wrap(state.method, CPU, bf16=computes_in_bf16(CPU), channels_last=True)
    schedule = Schedule(0.01, n, total_steps=1000, warmup_steps=0, tau_base=0.99)
    return lambda: train_step(state, [MicroBatch(views, None)], 1, compute_loss, schedule)


def setting(name: str, rows: int, dimension: int, repeats: int) -> Callable[[], None]:
    """What a closed form adds to a step, `repeats` times; without gradient, as in the step."""
    predictor = ClosedFormPredictor(dimension, CLOSED_FORMS[name], average=0.3, ridge=0.1)
    projections = torch.randn(rows, dimension) @ torch.diag(torch.logspace(0, -2, dimension))

    def observe_and_update() -> None:
        for _ in range(repeats):
            predictor.observe(projections, projections)
            predictor.update()

    return observe_and_update


def measure(rounds: int, *, repeats: int = 20, seed: int = 0, **overrides: object) -> Record:
    chosen = {"method.name": "byol", "heads.predictor": "linear", "views.mean": [0.5], "views.std": [0.5], **overrides}
    config = replaced(recipe("tonight").config, chosen)
    step = training_step(config, seed)
    rows: dict[str, Callable[[], float]] = {"training step": timed(step)}
    for name in CLOSED_FORMS:
        rows[name] = timed(setting(name, 2 * config.batch_size, config.heads.projector_output, repeats))
    alternate(rows, 1)  # memory and compiled operators
    counts = {name: 1 if name == "training step" else repeats for name in rows}
    values = {name: [1e3 * t / counts[name] for t in row] for name, row in alternate(rows, rounds).items()}
    whole = statistics.median(values["training step"])
    return record(
        "closed_form",
        f"closed-form predictors of {config.heads.projector_output} dimensions, batch {config.batch_size}",
        "ms",
        values,
        settings={"recipe": "tonight", "method": "byol", "repeats": repeats},
        details={name: {"share_of_step": rounded(statistics.median(row) / whole)} for name, row in values.items()},
        seed=seed,
    )


if __name__ == "__main__":
    chosen = arguments(__doc__, rounds=5).parse_args()
    publish(measure(chosen.rounds, seed=chosen.seed), chosen.out)
