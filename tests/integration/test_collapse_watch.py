"""Looks at the projections of a run: verdicts, measures, and a stop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from byol.diagnostics.measures import measure_step
from byol.diagnostics.spectrum import alpha_req
from byol.engine.metrics import read_metrics
from byol.engine.progress import Progress
from byol.errors import CollapseError
from byol.runtime import checkpoint
from tests.conftest import SMALL
from tests.integration.small_runs import PICTURES, losses, run, stop_at


def test_collapse_stops_a_run_where_asked(tmp_path: Path) -> None:
    same = np.repeat(PICTURES[:1], 64, axis=0)  # one image, and views that do not differ
    still = {
        f"views.{view}.{name}_probability": 0.0
        for view in ("view1", "view2") for name in ("flip", "jitter", "grayscale", "blur", "solarize")
    }  # fmt: skip
    areas = {"views.view1.crop_area": (0.999, 1.0), "views.view2.crop_area": (0.999, 1.0)}
    aspects = {"views.view1.crop_aspect": (0.999, 1.0), "views.view2.crop_aspect": (0.999, 1.0)}
    settings = {**still, **areas, **aspects, "stop_on_collapse": True, "collapse_interval_steps": 1}
    with pytest.raises(CollapseError, match=r"Stopped at step \d+ because stop_on_collapse is set: collapsed"):
        run(tmp_path / "run", same, **settings)
    assert not json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert len(losses(tmp_path / "run")) < 20


@pytest.mark.parametrize(("warmup_epochs", "interval", "first"), [(1.0, 3, 7), (0.0, 5, 6), (0.0, 50, 20)])
def test_progress_gives_no_verdict_before_a_look_after_the_warm_up(
    tmp_path: Path, warmup_epochs: float, interval: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 steps, of which an epoch is 4: `first` is the number of the step whose look may be judged. Metrics hold all."""
    monkeypatch.setattr("byol.diagnostics.collapse.FEWEST_STEPS", 2)
    seen: list[Progress] = []
    own = {"epochs": 5, "optimizer.warmup_epochs": warmup_epochs, "collapse_interval_steps": interval}
    byol.pretrain(
        PICTURES, "small", out=tmp_path / "run", overrides={**SMALL, **own}, say=lambda line: None, show=seen.append
    )
    assert [p.step for p in seen] == list(range(1, 21))
    assert {p.health for p in seen[: first - 1]} == {"starting"}
    assert {p.health for p in seen[first - 1 :]} <= {"healthy", "partially collapsed", "collapsed"}
    assert "std_ratio" in read_metrics(tmp_path / "run" / "metrics.jsonl")[0]


def test_a_short_training_gets_no_verdict_at_its_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    overrides = {**SMALL, "epochs": 5, "optimizer.warmup_epochs": 1.0}
    ended = byol.pretrain(
        PICTURES, "small", out=tmp_path / "run", overrides=overrides, say=lambda line: None, show=seen.append
    )
    assert {p.health for p in seen} == {"starting"}
    assert ended.verdict.startswith(
        "too short to tell: 20 steps, and a verdict needs 300 after the warm-up of 4 (so far: cosine "
    )
    assert json.loads((ended.path / "result.json").read_text())["verdict"] == ended.verdict


def test_collapse_watch_sees_all_micro_batches(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=0.5, micro_batch_size=2, collapse_interval_steps=1)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(row["effective_rank"] > 2 for row in rows)  # two images have no more


def test_training_logs_the_measures_of_its_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, float]] = []

    def look(projection: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
        singular = np.linalg.svd(projection.double().numpy(), compute_uv=False)
        share = singular / singular.sum()
        unit, other = (
            m.double().numpy() / np.linalg.norm(m.double().numpy(), axis=1)[:, None] for m in (projection, target)
        )
        pairs = np.triu_indices(len(unit), 1)
        seen.append({
            "alpha_req": alpha_req(projection.double()),
                "rankme": float(np.exp(-np.sum(share * np.log(share)))),
            "alignment": float(np.mean(np.sum((unit - other) ** 2, axis=1))),
            "uniformity": float(np.log(np.mean(np.exp(-2 * np.sum((unit[pairs[0]] - unit[pairs[1]]) ** 2, axis=1))))),
        })  # fmt: skip
        return measure_step(projection, target)

    monkeypatch.setattr("byol.engine.loop.measure_step", look)
    run(tmp_path / "run", epochs=1, micro_batch_size=8, collapse_interval_steps=2, log_interval_steps=2)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(seen) > 2
    for name, value in seen[-1].items():
        assert rows[-1][name] == pytest.approx(value, abs=2e-3, rel=1e-3), name
    assert rows[-1]["alignment"] == pytest.approx(2 - 2 * rows[-1]["positive_cosine"], abs=1e-4)


def test_stop_between_two_looks_is_judged_by_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(8, patch)
        run(tmp_path / "run", collapse_interval_steps=1000)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert result["step"] == 8
    assert rows[0]["std_ratio"] == rows[-1]["std_ratio"] != result["collapse"]["std_ratio"]
    state = checkpoint.load_newest(tmp_path / "run" / "checkpoints", print)[
        1
    ]  # a resumed run's metrics are the whole one's
    assert state["collapse"]["std_ratio"] == rows[0]["std_ratio"]
