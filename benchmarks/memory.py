"""Peak memory of a CIFAR training beside what its tensors need.

    python -m benchmarks.memory [--data cifar.parquet] [--batch 256]

Needed are: what autograd keeps for the backward pass (counted by hooks on two small batches and continued, since it
is linear in the batch), weights, target, gradients and momentum. The peak is that of a process of its own, without what
it held before training.
"""

import tempfile
from pathlib import Path

import torch

from benchmarks.images import write_folder
from benchmarks.record import Record, arguments, in_child, publish, record, rounded
from benchmarks.train_step import values_of_kernels
from byol.assembly.networks import build_method
from byol.config import Config, replaced
from byol.runtime.view_roles import ViewBatch

COUNTED_IMAGES = 8


def needed_megabytes(encoder: str, size: int, batch: int, hidden: int) -> float:
    """Of activations in bf16 and of everything that is kept between steps."""
    settings = {"encoder.name": encoder, "views.size": size, "views.mean": [0.5], "views.std": [0.5]}
    settings |= {"heads.projector_hidden": hidden, "heads.predictor_hidden": hidden}
    made = build_method(replaced(Config(), settings), 3).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    one, two = (kept_for_backward(made, size, count) for count in (COUNTED_IMAGES, 2 * COUNTED_IMAGES))
    activations = one + (two - one) / COUNTED_IMAGES * (batch - COUNTED_IMAGES)
    trained = sum(p.nbytes for p in made.parameters() if p.requires_grad)
    still = sum(p.nbytes for p in made.parameters() if not p.requires_grad)
    return (activations + 3 * trained + still) / 2**20


def kept_for_backward(made: torch.nn.Module, size: int, batch: int) -> int:
    """Bytes that autograd keeps for two views of so many images, weights apart."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in made.parameters()}
    views = torch.rand(batch, 3, size, size)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16):
        loss = made(ViewBatch((views,), (views,))).loss
    found = sum(count for place, count in kept.items() if place not in weights)
    del loss  # it held them
    return found


def measure(data: str, encoder: str, size: int, batch: int, hidden: int, rounds: int, seed: int = 0) -> Record:
    needed = needed_megabytes(encoder, size, batch, hidden)
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place), data, max(2 * batch, 256), size, seed)
        task = {"name": "ours", "data": str(folder), "encoder": encoder, "size": size, "batch": batch}
        task |= {"hidden": hidden, "steps": 2, "seed": seed}
        for kernels in values_of_kernels() or ("",):
            runs = [in_child("benchmarks.trainings", {**task, "kernels": kernels}) for _ in range(rounds)]
            name = "ours" + (f", {kernels}" if kernels else "")
            values[name] = [run["peak_megabytes"] - run["imported_megabytes"] for run in runs]
    values["needed"] = [needed] * rounds
    return record(
        "memory",
        f"Peak memory of training {encoder}, {size} px, batch {batch}, beyond what the imports take",
        "MiB",
        values,
        settings={"data": data, "encoder": encoder, "size": size, "batch": batch, "hidden": hidden},
        details={name: {"times_needed": rounded(max(row) / needed)} for name, row in values.items()},
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--data", default="", help="as for byol pretrain; default: made-up images")
    parser.add_argument("--batch", type=int, default=256)
    chosen = parser.parse_args()
    publish(measure(chosen.data, "resnet18", 32, chosen.batch, 4096, chosen.rounds, chosen.seed), chosen.out)
