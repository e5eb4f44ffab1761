"""A study whose runs take a second, and collapse measures that runs report."""

from typing import Any

from byol.runtime.listener import Listener
from byol.studies.run_study import begin, carry_out
from byol.studies.study_report import StudyResult
from tests.conftest import SMALL

QUICK = {**SMALL, "encoder.name": "resnet10", "encoder.width": 0.0625, "views.size": 16, "epochs": 1.0}
HEALTHY = {
    "collapse": {"std_ratio": 0.9, "effective_rank": 20.0, "positive_cosine": 0.9, "negative_cosine": 0.1},
}
COLLAPSED = {
    "collapse": {"std_ratio": 0.01, "effective_rank": 1.0, "positive_cosine": 1.0, "negative_cosine": 0.999},
}


def study(
    name: str,
    *,
    jobs: int = 1,
    say: Any = lambda line: None,
    overall: Any = lambda share, note: None,
    **planned: Any,
) -> StudyResult | int:
    return carry_out(begin(name, jobs=jobs, **planned), listener=Listener(say), overall=overall)
