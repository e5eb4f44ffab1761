"""How small may the micro-batches of batch norm and negatives be, at one optimizer batch?"""

from dataclasses import replace

from byol.studies.study import (
    PAPER,
    PAPERS_ABLATIONS,
    SIMCLRS_HEADS,
    SMALL,
    TINY,
    Collapse,
    Contrast,
    Shape,
    Study,
    Variant,
)

OURS, PAPERS = (256, 128, 64, 32, 16, 8, 4), (4096, 2048, 1024, 512, 256, 128, 64)
"""Micro-batch sizes with our optimizer batch of 256, and with the paper's of 4096."""
ACCURACIES = {
    "byol": (72.5, 72.4, 72.2, 72.2, 71.8, 69.6, 59.7),
    "simclr": (67.9, 67.8, 67.4, 66.5, 64.3, 63.6, 59.2),
}
"""Accuracies in the paper by method, from the largest micro-batch to the smallest."""
TINY_SIZES, TRUE_SIZES = (256, 32, 8), (64, 16)
"""Micro-batch sizes at scale tiny, and sizes of true batches without micro-batches."""
QUESTION = "What do batch norm and the negatives lose in small batches, at one optimizer batch of {}?"
OF_PAPER = " of 4096"
"""Suffix of the names of variants with the paper's micro-batches."""


def _variants(method: str) -> tuple[Variant, ...]:
    own = {"method.name": method}
    accumulated = tuple(
        Variant(
            f"{method} {size}{of}",
            {**own, "micro_batch_size": size, **heads},
            accuracy,
            paper_name="" if of else str(papers),
        )
        for sizes, of, heads in ((OURS, "", {}), (PAPERS, OF_PAPER, SIMCLRS_HEADS if method == "simclr" else {}))
        for size, papers, accuracy in zip(sizes, PAPERS, ACCURACIES[method], strict=True)
    )
    true = tuple(
        Variant(f"{method} {size}, true batch", {**own, "batch_size": size, "method.tau_reference_batch": 256})
        for size in TRUE_SIZES
    )
    return accumulated + true


def _shapes(sizes: tuple[int, ...], of: str) -> tuple[Shape, ...]:
    whole, _, _, eighth, sixteenth, small, smallest = sizes

    def loses(method: str, to: int, sign: int = 1) -> dict[str, float]:
        return {f"{method} {whole}{of}": sign, f"{method} {to}{of}": -sign}

    return (
        *(
            Contrast(
                f"SimCLR loses more than BYOL from {whole} to {to}",
                {**loses("simclr", to), **loses("byol", to, -1)},
                gap,
            )
            for to, gap in ((eighth, 1.1), (sixteenth, 2.9))
        ),
        Contrast(f"SimCLR loses from {whole} to {small}", loses("simclr", small), 4.3),
        Contrast(f"BYOL loses from {whole} to {small}", loses("byol", small), 2.9),
        Contrast(f"BYOL breaks at {smallest}", loses("byol", smallest), 12.8),
        Contrast(f"BYOL is ahead of SimCLR at {whole}", {f"byol {whole}{of}": 1, f"simclr {whole}{of}": -1}, 4.6),
        Collapse(f"BYOL does not collapse at {small}", f"byol {small}{of}", False),
    )


def _names(sizes: tuple[int, ...], end: str = "") -> tuple[str, ...]:
    return tuple(f"{method} {size}{end}" for method in ACCURACIES for size in sizes)


BATCH_SIZE = Study(
    name="batch-size",
    question=QUESTION.format(256),
    variants=(*_variants("byol"), *_variants("simclr")),
    shapes=(*_shapes(OURS, ""), *_shapes(PAPERS, OF_PAPER)),
    scales={
        "tiny": replace(TINY, settings={**TINY.settings, "batch_size": 256}, variants=_names(TINY_SIZES)),
        "small": replace(
            SMALL,
            settings={**SMALL.settings, "batch_size": 256},
            variants=(*_names(OURS), *_names(TRUE_SIZES, ", true batch")),
        ),
        "paper": replace(PAPER, variants=_names(PAPERS, OF_PAPER), question=QUESTION.format(4096)),
    },
    source="BYOL Table 16: micro-batches of 4096 to 64, the optimizer's batch 4096",
    paper_metric="ImageNet linear top-1, %",
    paper_training=PAPERS_ABLATIONS,
)
