"""The chart of a study."""

import math
from pathlib import Path

from byol.runtime.files import replacing
from byol.studies.judge import over_seeds
from byol.studies.study import UNTRAINED
from byol.studies.study_report import ACCURACIES, LEGEND, POSSIBLE, TITLES, StudyResult, measures_of

PANELS_PER_ROW = 3


def plot(result: StudyResult, path: Path) -> None:
    """Draws a PNG: one panel per measure with a point and interval per variant, and a panel of the paper's numbers."""
    from matplotlib.figure import Figure

    papers = {v.name: v for v in result.study.variants if v.name in result.outcomes and v.paper is not None}
    papers_title = f"paper: {result.study.paper_metric}\nafter {result.study.paper_training}"
    names = [v.name for v in result.study.variants_at(result.scale)]
    panels = [*measures_of(result), *(["paper"] if papers else [])]
    rows = math.ceil(len(panels) / PANELS_PER_ROW)
    size = (2.6 * PANELS_PER_ROW + 2, (0.35 * len(names) + 0.9) * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, PANELS_PER_ROW, sharey=True).flatten()
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, panel in zip(axes[: len(panels)], panels, strict=True):
        for place, name in enumerate(names):
            if panel == "paper":
                if name in papers:
                    axis.plot(papers[name].paper, place, "D", color="tab:orange", markerfacecolor="none")
                    axis.annotate(
                        papers[name].paper_name, (papers[name].paper, place), (6, 0), textcoords="offset points",
                        va="center", fontsize="x-small",
                    )  # fmt: skip
                continue
            values = [o[panel] for o in result.outcomes[name] if math.isfinite(o.get(panel, math.nan))]
            if len(values) < len(result.outcomes[name]):
                reason = "diverged" if any("failed" in o for o in result.outcomes[name]) else "not measured"
                axis.annotate(
                    reason,
                    (0.5, place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    ha="center",
                    fontsize="x-small",
                )
                continue
            axis.plot(values, [place] * len(values), ".", color="0.6")
            score = over_seeds(values)
            least, most = POSSIBLE[panel]
            reach = (max(score.low, least), min(score.high, most)) if math.isfinite(score.high) else (score.value,) * 2
            bar = [[max(0.0, score.value - reach[0])], [max(0.0, reach[1] - score.value)]]
            axis.errorbar(score.value, place, xerr=bar, fmt="o", color="tab:blue", capsize=3)
        if panel in ACCURACIES and all(panel in o for o in result.outcomes[UNTRAINED]):
            untrained = over_seeds([o[panel] for o in result.outcomes[UNTRAINED]])
            axis.axvline(untrained.value, color="0.4", linestyle=":")
            if math.isfinite(untrained.low):
                axis.axvspan(untrained.low, untrained.high, color="0.9", zorder=0)
        axis.set_title(TITLES.get(panel, papers_title), fontsize="small")
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.suptitle(result.study.question_at(result.scale), fontsize="medium")
    figure.supxlabel(LEGEND, fontsize="x-small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
