"""Training beside other projects: lightly and byol-pytorch as they document BYOL, on the same files, batch and sizes.

    make bench-peers            # makes build/peers, an environment with these projects and the same torch; then this

Changed in theirs: the encoder's stem and the width of the heads, so that the work is equal. fp32 is how both come; bf16
is our autocast around their forward. One more pair of rows is lightly exactly as documented (7x7 stem, heads of 1024),
beside ours at those sizes.
"""

from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, arguments, publish
from benchmarks.train_step import measure, rows, values_of_kernels

PYTHON = ROOT / "build" / "peers" / "bin" / "python"
DOCUMENTED = {"stem": "imagenet", "hidden": 1024}


def peer_rows() -> dict[str, dict[str, Any]]:
    """Name of each row and what it sets."""
    fastest = {"name": "ours", "kernels": "fused" if "fused" in values_of_kernels() else ""}
    return {
        "lightly, fp32": {"name": "lightly", "precision": "fp32"},
        "byol-pytorch, fp32": {"name": "byol-pytorch", "precision": "fp32"},
        "lightly, our autocast": {"name": "lightly"},
        "byol-pytorch, our autocast": {"name": "byol-pytorch"},
        **rows("channels_last"),
        "ours, bf16": fastest,
        "lightly as documented (less work), fp32": {"name": "lightly", "precision": "fp32", **DOCUMENTED},
        "ours at lightly's documented sizes, bf16": {**fastest, **DOCUMENTED},
    }


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--data", default="", help="as for byol pretrain; default: made-up images")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2, help="that are counted, after one")
    parser.add_argument("--python", default=str(PYTHON), help="an interpreter that has the other projects")
    chosen = parser.parse_args()
    if not Path(chosen.python).exists():
        parser.error(f"{chosen.python} does not exist; make bench-peers makes it")
    common = {"encoder": "resnet18", "stem": "small", "size": 32, "batch": chosen.batch}
    common |= {"steps": chosen.steps, "warmup": 1}
    found = peer_rows()
    pythons = {name: chosen.python for name, row in found.items() if row["name"] in ("lightly", "byol-pytorch")}
    result = measure(
        found,
        {**common, "seed": chosen.seed},
        data=chosen.data,
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        benchmark="peers",
        pythons=pythons,
    )
    publish(result, chosen.out)
