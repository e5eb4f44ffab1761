"""Charts of a training's metrics: their titles and captions, and the columns of numbers that they draw."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from byol.diagnostics.collapse import LIMITS

MOST_ROWS = 2000
"""Approximate largest number of points in a curve."""
CHECKED = frozenset(
    (
        "std_ratio",
        "effective_rank",
        "positive_cosine",
        "negative_cosine",
        "rankme",
        "alpha_req",
        "alignment",
        "uniformity",
        "predictor_alignment",
        "predictor_asymmetry",
        "predictor_exponent",
        "predictor_stable_rank",
    )
)
"""Metrics of the collapse checks. Rows between two checks repeat the values of the last one."""
NOT_DRAWN = ("step", "elapsed_seconds")


@dataclass(frozen=True)
class Chart:
    """A chart of one or two metrics."""

    title: str
    keys: tuple[str, ...]
    """Metrics: the first is drawn as a line, the second as dots."""
    caption: str
    """Sentences about the content of the chart and its good values."""


CHARTS = (
    Chart(
        "Loss",
        ("loss",),
        "Error of the training task; BYOL's is between 0 and 8. Lower is better, but a collapse lowers it too: read it with the next charts.",
    ),
    Chart(
        "Spread of the projections",
        ("std_ratio",),
        f"Standard deviation over different images: 0 if all are equal, 1 if they spread evenly. Good: above {LIMITS.std_ratio:.2f}.",
    ),
    Chart(
        "Effective rank",
        ("effective_rank",),
        f"Number of directions that the projections use. Higher is better; good: above {LIMITS.effective_rank:.1f}.",
    ),
    Chart(
        "Cosines",
        ("positive_cosine", "negative_cosine"),
        f"Similarity of two views of one image (line) and of different images (dots). Good: the line is more than {LIMITS.cosine_gap:.2f} above the dots.",
    ),
    Chart(
        "RankMe",
        ("rankme",),
        "Number of directions that the projections use at their own lengths. Higher is better: encoders of higher rank usually classify better.",
    ),
    Chart(
        "Alpha-ReQ",
        ("alpha_req",),
        "Speed at which the variance falls from one direction to the next, as the exponent of a power law. Good: near 1; far above, a few directions dominate.",
    ),
    Chart(
        "Alignment",
        ("alignment",),
        "Squared distance between two views of one image, from 0 to 4. Lower is better if the uniformity is low too; a collapse makes it 0.",
    ),
    Chart(
        "Uniformity",
        ("uniformity",),
        "Evenness of the projections on the sphere: 0 if all are equal, about -4 if they are spread evenly. Lower is better.",
    ),
    Chart(
        "Linear predictor and projections",
        ("predictor_alignment", "predictor_asymmetry"),
        "Agreement of the predictor's directions with the main directions of the projections (line: 1 if they are the same), and asymmetry of the predictor (dots: 0 if symmetric, 1.4 if random). Good by Tian et al. (2021): the line goes to 1, the dots to 0.",
    ),
    Chart(
        "Exponent of the linear predictor",
        ("predictor_exponent",),
        "Power of the projections' correlation that the predictor is nearest to. 0.5 is the root, as Tian et al. (2021) expect; 0 treats all directions alike, as an orthogonal projection (Richemond et al. 2023). No value is good or bad by itself.",
    ),
    Chart(
        "Stable rank of the linear predictor",
        ("predictor_stable_rank",),
        "Number of directions that the predictor keeps at nearly full length. Good by Richemond et al. (2023): it rises during training.",
    ),
    Chart(
        "Online probes",
        ("online_knn", "online_linear"),
        "Accuracy in % on labelled training images, by nearest neighbours (line) and a linear classifier (dots). Higher is better.",
    ),
    Chart(
        "Online classifier, loss",
        ("classifier_loss",),
        "Loss of a classifier that learns beside the encoder and does not change it. Lower is better.",
    ),
    Chart(
        "Online classifier, accuracy",
        ("classifier_accuracy",),
        "Accuracy of a classifier that learns beside the encoder and does not change it, on the newest batch. Higher is better.",
    ),
    Chart(
        "Learning rate",
        ("learning_rate",),
        "Step size of the optimizer, as planned: it rises in the warm-up, then falls. No value is good or bad by itself.",
    ),
    Chart(
        "Tau",
        ("tau",),
        "Fraction of its weights that the target network keeps at each step, as planned. It usually rises to 1.",
    ),
    Chart(
        "Threads",
        ("threads",),
        "Number of CPU threads that compute: fewer while other processes are busy. No value is good or bad by itself.",
    ),
    Chart(
        "Skipped steps",
        ("num_skipped_steps",),
        "Number of steps left out because their gradient was not finite. Good: 0.",
    ),
    Chart(
        "Throughput",
        ("images_per_second",),
        "Speed in images per second. Higher is faster; a fall usually means that other programs use the machine.",
    ),
)
STUDY_CAPTIONS = {
    "knn": "Accuracy by nearest neighbours, in %. Higher is better.",
    "linear": "Accuracy of a linear probe, in %. Higher is better.",
    "std_ratio": f"Spread of the projections: 0 if all are equal, 1 if spread evenly. Good: above {LIMITS.std_ratio:.2f}.",
    "effective_rank": f"Number of directions that the projections use. Good: above {LIMITS.effective_rank:.1f}.",
    "positive_cosine": f"Similarity of two views of one image. Good: more than {LIMITS.cosine_gap:.2f} above that of different images.",
    "negative_cosine": "Similarity of different images. Good: near 0, and far below that of two views of one image.",
    "source_variance": "Variance of an image's projection over views, online network. Lower means that its views agree more.",
    "target_variance": "Variance of an image's projection over views, target network. Good: below that of the online network.",
    "paper": "Accuracy that the paper reports, in %. Higher is better.",
}
"""Caption of a study's chart by measure; `paper`: the chart of the paper's numbers."""


def charts(metrics: Iterable[str]) -> list[dict[str, Any]]:
    """The charts of these metrics, as plain dictionaries; a metric without an entry in CHARTS gets a chart of its own."""
    found = [name for name in dict.fromkeys(metrics) if name not in NOT_DRAWN]
    known = {key for chart in CHARTS for key in chart.keys}
    shown = [chart for chart in CHARTS if set(chart.keys) & set(found)]
    shown += [
        Chart(
            name.replace("_", " "), (name,), f"The values of {name} in metrics.jsonl. Their meaning is not known here."
        )
        for name in found
        if name not in known
    ]
    return [{**asdict(chart), "checked": set(chart.keys) <= CHECKED} for chart in shown]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Columns of numbers by name. Of many rows, only every k-th and the last are used.

    A metric of the collapse checks is None in rows that only repeat it.
    """
    stride = max(1, -(-len(rows) // MOST_ROWS))
    shown = rows[::stride] if not rows or (len(rows) - 1) % stride == 0 else [*rows[::stride], rows[-1]]
    names = dict.fromkeys(name for row in shown for name, value in row.items() if isinstance(value, int | float))
    return {name: _column([row.get(name) for row in shown], name in CHECKED) for name in names}


def _column(values: list[Any], is_checked: bool) -> list[float | None]:
    numbers = [float(f"{value:.6g}") if isinstance(value, int | float) else None for value in values]
    if not is_checked:
        return numbers
    return [None if row and number == numbers[row - 1] else number for row, number in enumerate(numbers)]
