"""Protocol, table and record of a study."""

import json
import math
from pathlib import Path

import pytest

from byol.studies import find_study
from byol.studies.judge import judge
from byol.studies.run_study import write
from byol.studies.study import UNTRAINED
from byol.studies.study_report import StudyResult, markdown, protocol, read, table
from tests.unit.studies.small_study import HEALTHY


def test_study_writes_the_settings_of_its_variants_beforehand() -> None:
    """So that one of other settings does not take over what another left in the folder."""
    said = protocol(find_study("batch-size"), "paper", 1, {"byol 4096 of 4096": 1}, "photos")
    assert "    byol 64 of 4096: method.name byol, micro_batch_size 64" in said
    crops = [
        line for line in protocol(find_study("asymmetry"), "paper", 1, {"none": 1}, "photos") if "MultiCrop, " in line
    ]
    assert crops[0].startswith("    MultiCrop, source: views.view1.crop_area (0.14, 1.0), ")


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("normalization", "STL-10 linear accuracy, %, after 10 epochs of ResNet-18"),
        ("asymmetry", "ImageNet linear top-1, %, after 100 epochs of MoCo v2 with ResNet-50"),
        ("heads", "ImageNet linear top-1, %, after 300 epochs of ResNet-50"),
    ],
)
def test_study_says_of_which_training_the_papers_numbers_are(name: str, measured: str, tmp_path: Path) -> None:
    chosen = find_study(name)
    outcomes = {key: [{"knn": 50.0}] for key in (*(v.name for v in chosen.variants_at("paper")), UNTRAINED)}
    result = StudyResult(chosen, "paper", outcomes, [], [])
    assert table(result)[0][-1] == f"paper: {measured}"
    write(result, tmp_path)
    assert json.loads((tmp_path / "study.json").read_text())["paper_metric"] == measured
    warned = "\n".join(protocol(chosen, "paper", 1, {"none": 5000}, "photos")).count(
        "of another training than this scale's"
    )
    assert warned == (name != "heads")


def test_study_is_read_from_its_record_and_written_as_a_table(tmp_path: Path) -> None:
    whole = find_study("normalization")
    names = [variant.name for variant in whole.variants_at("tiny")]
    healthy = {
        "knn": 50.25,
        "linear": 61.5,
        "std_ratio": 0.75,
        "effective_rank": 9.0,
        "positive_cosine": 0.9,
        "negative_cosine": 0.1,
    }
    outcomes: dict[str, list] = {name: [{**healthy, **HEALTHY}] * 2 for name in names}
    outcomes |= {"batch": [{"failed": "nan", "knn": math.nan}] * 2, UNTRAINED: [{"knn": 40.0, "linear": 50.0}] * 2}
    outcomes["predictor only"] = [{**healthy, "collapse": dict.fromkeys(HEALTHY["collapse"], math.nan)}] * 2
    result = StudyResult(whole, "tiny", outcomes, [judge(s, outcomes) for s in whole.shapes_at("tiny")], ["said"])
    write(result, tmp_path)
    again = read(tmp_path / "study.json")
    assert table(again) == table(result)
    assert again.judgements == result.judgements
    text = (tmp_path / "study.md").read_text()
    assert text == f"```\nsaid\n```\n\n{markdown(again)}\n"
    rows = text.splitlines()
    assert rows[4].startswith("| variant | kNN, % | linear, % | collapsed | std") and rows[4].endswith(
        "after 10 epochs of ResNet-18 |"
    )
    assert rows[6] == "| batch | diverged | diverged |  | diverged | diverged | diverged | diverged | 57.7 |"
    assert rows[7].startswith("| projector only | 50.2 [50.2, 50.2] | 61.5 [61.5, 61.5] | 0 of 2 | 0.75 [0.75, 0.75] |")
    assert rows[12].startswith("| encoder, untrained | 40.0 [40.0, 40.0] | 50.0 [50.0, 50.0] |  |")
    assert rows[12].endswith("| 28.8 |")
    assert "| layer norm in the heads collapses early on | did not hold | 0 of 2 seeds collapsed" in text
