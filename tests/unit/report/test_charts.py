"""Charts of metrics: captions and columns."""

from byol.diagnostics.collapse import CollapseWatch
from byol.report.charts import CHARTS, CHECKED, MOST_ROWS, STUDY_CAPTIONS, charts, columns
from byol.studies.study_report import COLUMNS


def test_every_chart_says_which_values_are_good() -> None:
    for chart in CHARTS:
        words = chart.caption.lower()
        assert any(word in words for word in ("good", "better", "faster", "as planned")), chart.title
    assert set(CollapseWatch.__dataclass_fields__) < CHECKED
    assert set(STUDY_CAPTIONS) == {*COLUMNS, "paper"}


def test_unknown_metrics_have_a_chart_too() -> None:
    shown = charts(["step", "loss", "negative_cosine", "own_measure", "loss"])
    assert [chart["title"] for chart in shown] == ["Loss", "Cosines", "own measure"]
    assert [chart["checked"] for chart in shown] == [False, True, False]
    assert all(chart["caption"] for chart in shown)


def test_a_measure_of_the_checks_is_kept_where_it_is_new() -> None:
    rows = [{"step": step, "tau": 0.9, "rankme": float(step // 3)} for step in range(7)]
    assert columns(rows)["rankme"] == [0.0, None, None, 1.0, None, None, 2.0]
    assert columns(rows)["tau"] == [0.9] * 7
    many = [{"step": step, "rankme": 1.0} for step in range(3 * MOST_ROWS)]
    assert columns(many)["step"][-1] == 3 * MOST_ROWS - 1
    assert [value for value in columns(many)["rankme"] if value is not None] == [1.0]
