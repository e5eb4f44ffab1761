"""How small may the batch be that batch norm and the negatives see, when the optimizer's batch stays?"""

from dataclasses import replace

from byol.studies.study import PAPER, SMALL, TINY, Contrast, Study, Variant

ACCUMULATED = {256: (4096, 72.5, 67.9), 32: (512, 72.2, 66.5), 8: (128, 69.6, 63.6)}
"""Our micro-batch: (the paper's, BYOL's accuracy there, SimCLR's)."""
TRUE = (64, 16)


def _variants(method: str, column: int) -> tuple[Variant, ...]:
    own = {"method.name": method}
    accumulated = tuple(
        Variant(
            f"{method} {micro}", {**own, "micro_batch_size": micro}, row[column], {**own, "micro_batch_size": row[0]}
        )
        for micro, row in ACCUMULATED.items()
    )
    true = tuple(
        Variant(f"{method} {size}, true batch", {**own, "batch_size": size, "method.tau_reference_batch": 256})
        for size in TRUE
    )
    return accumulated + true


BATCH_SIZE = Study(
    name="batch-size",
    question="What do batch norm and the negatives lose in small batches, at one optimizer batch of 256?",
    variants=(*_variants("byol", 1), *_variants("simclr", 2)),
    shapes=(
        Contrast(
            "SimCLR loses more than BYOL from 256 to 32",
            {"simclr 256": 1, "simclr 32": -1, "byol 256": -1, "byol 32": 1},
            1.1,
        ),
        Contrast("SimCLR loses from 256 to 8", {"simclr 256": 1, "simclr 8": -1}, 4.3),
        Contrast("BYOL loses from 256 to 8", {"byol 256": 1, "byol 8": -1}, 2.9),
        Contrast("BYOL is ahead of SimCLR at 256", {"byol 256": 1, "simclr 256": -1}, 4.6),
    ),
    scales={
        "tiny": replace(
            TINY,
            settings={**TINY.settings, "batch_size": 256},
            variants=tuple(f"{method} {micro}" for method in ("byol", "simclr") for micro in ACCUMULATED),
        ),
        "small": replace(SMALL, settings={**SMALL.settings, "batch_size": 256}),
        "paper": replace(
            PAPER, variants=tuple(f"{method} {micro}" for method in ("byol", "simclr") for micro in ACCUMULATED)
        ),
    },
    source="BYOL Table 16: batches of 4096, 512 and 128, the optimizer's 4096",
    paper_metric="ImageNet linear top-1, %",
)
