"""The tables of studies in the documentation are what the studies' records say, judged as today."""

from pathlib import Path

import pytest

from byol.studies.study_report import markdown, read
from tests.docs.pages import ROOT

RECORDS = sorted((ROOT / "docs").glob("study-*.json"))


def test_results_of_studies_are_on_record() -> None:
    assert RECORDS, "docs/ holds no record of a study"


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_results_show_what_the_study_printed(record: Path) -> None:
    shown = (ROOT / "docs" / "study-results.md").read_text()
    assert markdown(read(record)) in shown
    assert f"({record.stem}.png)" in shown
