"""Training, data included: ours with each value of `kernels` beside plain PyTorch in fp32 and in bf16.

    python -m benchmarks.train_step [--data cifar.parquet] [--batch 256]
    python -m benchmarks.train_step --data photos/ --encoder resnet50 --size 224 --batch 16
    python -m benchmarks.train_step --encoder tf_efficientnet_lite0 --size 64 --batch 128

Each row of each round is a process of its own. One image is two views. `matrix_fraction` is the share of the best product
or convolution of the same processes, with the operations that torch counts in one step of plain PyTorch.
"""

import math
import statistics
import tempfile
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.images import write_folder
from benchmarks.record import Record, alternate, arguments, in_child, publish, record, rounded
from byol.assembly.networks import build_method
from byol.config import Config, replaced
from byol.runtime.view_roles import ViewBatch


def values_of_kernels() -> tuple[str, ...]:
    """What the setting `kernels` may be; none where there is no such setting."""
    return tuple(value for value in get_args(get_type_hints(Config).get("kernels")) if value != "auto")


def flops_per_image(encoder: str, stem: str, size: int, hidden: int) -> float:
    """Of one step: both networks forward on two views, the online one backward. Counted by torch, on two images."""
    config = replaced(
        Config(),
        {
            "encoder.name": encoder,
            "encoder.stem": stem,
            "views.size": size,
            "views.mean": [0.5],
            "views.std": [0.5],
            "heads.projector_hidden": hidden,
            "heads.predictor_hidden": hidden,
        },
    )
    made, views = build_method(config, 3), torch.rand(2, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        made(ViewBatch((views,), (views,))).loss.backward()
    return counter.get_total_flops() / 2


def rows(which: str = "") -> dict[str, dict[str, Any]]:
    """Name of each row and what it sets; `which` keeps those whose names hold one of its words."""
    found: dict[str, dict[str, Any]] = {
        "plain PyTorch, fp32": {"name": "plain", "precision": "fp32", "steps": 2, "warmup": 1},
        "plain PyTorch, bf16, channels_last": {"name": "plain"},
    }
    for kernels in values_of_kernels() or ("",):
        found["ours, bf16" + (f", {kernels}" if kernels else "")] = {"name": "ours", "kernels": kernels}
    words = which.split(",")
    return {name: row for name, row in found.items() if any(word in name for word in words)}


def measure(
    chosen: dict[str, dict[str, Any]],
    common: dict[str, Any],
    *,
    data: str = "",
    rounds: int = 3,
    seconds: float = math.inf,
    num_images: int = 0,
    benchmark: str = "train_step",
    pythons: dict[str, str] | None = None,
) -> Record:
    """`common` and each row are fields of `Training`; `pythons` the interpreters of rows that need another."""
    with tempfile.TemporaryDirectory() as place:
        batch = common["batch"]
        folder = write_folder(Path(place), data, num_images or max(8 * batch, 256), common["size"])
        children = {
            name: lambda row=row, name=name: in_child(
                "benchmarks.trainings",
                {**common, **row, "data": str(folder)},
                **({"python": pythons[name]} if pythons and name in pythons else {}),
            )
            for name, row in chosen.items()
        }
        found = alternate(children, rounds, seconds)
    peak = max(child["matrix_peak"] for children in found.values() for child in children)
    values, details = {}, {}
    for name, runs in found.items():
        work = runs[0]["training"]
        values[name] = [batch / statistics.median(child["seconds"]) for child in runs]
        flops = flops_per_image(work["encoder"], work["stem"], work["size"], work["hidden"])
        details[name] = {
            "matrix_fraction": rounded(statistics.median(values[name]) * flops / peak),
            "peak_megabytes": round(max(child["peak_megabytes"] for child in runs)),
        }
    names = list(values)
    mine = [name for name in names if name.startswith("ours")]
    return record(
        benchmark,
        f"BYOL training with its data, {common['encoder']}, {common['size']} px, batch {batch}",
        "images/s",
        values,
        higher_is_better=True,
        ratios=[(one, other) for one in mine for other in names if other != one],
        settings={**common, "data": data, "matrix_peak_flops": rounded(peak)},
        details=details,
        seed=common.get("seed", 0),
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--data", default="", help="as for byol pretrain; default: made-up images")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", default="", help="only rows whose names hold one of these words, separated by commas")
    chosen = parser.parse_args()
    common = {
        "encoder": chosen.encoder,
        "stem": "small" if chosen.size <= 96 and chosen.encoder.startswith("resnet") else "imagenet",
        "size": chosen.size,
        "batch": chosen.batch,
        "steps": chosen.steps,
        "seed": chosen.seed,
    }
    publish(
        measure(rows(chosen.rows), common, data=chosen.data, rounds=chosen.rounds, seconds=chosen.seconds), chosen.out
    )
