"""The figure of a study."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from byol.studies import find_study
from byol.studies.plot import plot
from byol.studies.study import UNTRAINED
from byol.studies.study_report import COLUMNS, POSSIBLE, StudyResult


def test_plot_cuts_intervals_off_at_possible_values_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **how: drawn.append(self) or Path(path).touch())
    chosen = find_study("batch-size")
    names = [variant.name for variant in chosen.variants_at("tiny")]
    far = [
        {**dict.fromkeys(COLUMNS, x), "effective_rank": 10 * x} for x in (0.1, 0.9)
    ]  # Student's interval of two is wide
    outcomes: dict[str, list] = {name: far for name in names} | {
        UNTRAINED: [{"knn": 40.0, "linear": 50.0}, {"knn": 42.0, "linear": 54.0}]
    }
    outcomes[names[0]] = [{"failed": "so", "knn": float("nan")}] * 2
    plot(StudyResult(chosen, "tiny", outcomes, [], []), tmp_path / "study.png")
    axes = dict(zip([*COLUMNS, "paper"], drawn[0].axes, strict=True))
    for measure, (least, most) in POSSIBLE.items():
        bars = [x for lines in axes[measure].collections for segment in lines.get_segments() for x, _ in segment]
        assert bars and least <= min(bars) and max(bars) <= most, measure
        assert [text.get_text() for text in axes[measure].texts] == ["diverged"]
    for measure, mean, half in (("knn", 41, 12.706), ("linear", 52, 25.412)):
        band = axes[measure].patches[0]
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((mean - half, mean + half), abs=0.01)
    assert [text.get_text() for text in axes["paper"].texts] == ["4096", "512", "128"] * 2
