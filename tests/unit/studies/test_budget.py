"""Images per run, so that a study fits its time."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol.assembly.settings import Asked
from byol.config import Config
from byol.data.sample import open_sample
from byol.errors import ConfigError
from byol.runtime.listener import Listener
from byol.studies import budget, find_study, run_study
from byol.studies.run_study import begin
from byol.studies.runs import tasks_of
from tests.unit.studies.small_study import QUICK

RATES = {"l2": 100 / 0.9, "layer": 50 / 0.9, "batch": 200 / 0.9, "none": 125 / 0.9}
"""Of the speed test: 100, 50, 200 and 125 images/s are counted."""


def found_speed(trained: float, decoded: float = math.inf, *, resident: bool = True) -> SimpleNamespace:
    return SimpleNamespace(trained_per_second=trained, decoded_per_second=decoded, is_resident=resident)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configs that a speed test measures; on two cores it takes no time and gives RATES."""
    seen: list[Config] = []

    def estimate(source: object, asked: Asked, **how: bool) -> SimpleNamespace:
        config = asked.config
        seen.append(config)
        return found_speed(RATES[config.method.loss_normalization])

    monkeypatch.setattr(budget, "estimate", estimate)
    monkeypatch.setattr(budget, "num_cores", lambda: 2)
    monkeypatch.setattr(run_study, "num_cores", lambda: 2)
    return seen


@pytest.mark.parametrize(
    ("jobs", "minutes", "seeds", "images"),
    [
        (1, None, 3, 20_000),  # 3 (15 s x 4 + 0.043 s (3,000 + 20,000)) = 52 min, 74 with 30,000
        (2, None, 3, 40_000),  # the same for each of two: 48 min, 69 with 60,000
        (None, None, 3, 40_000),  # two cores
        (4, None, 3, 40_000),  # half as fast each: 58 min, by hand
        (1, 20.0, 3, 4_000),
        (1, 15.0, 3, 2_560),  # 40 batches, the fewest; there is time for 20 more
        (1, None, 1, 60_000),  # 46 min, 60.5 with 80,000
    ],
)
def test_tiny_study_trains_on_as_many_images_as_fit_an_hour(
    jobs: int | None, minutes: float | None, seeds: int, images: int, tmp_path: Path, measured: list[Config]
) -> None:
    begun = begin("loss-normalization", seeds=seeds, jobs=jobs, minutes=minutes, out=tmp_path)
    assert [task.config.epochs * 12_000 for task in begun.tasks] == pytest.approx([images] * 5 * seeds)
    assert begun.protocol[1].endswith(f"{images:,} images per run, the same for all")
    assert len(measured) == 4
    assert begun.jobs == (jobs or 2)


def test_budget_is_where_the_last_of_the_jobs_ends() -> None:
    """By hand: 10 + 2 s for each of 100 images at 10/s; the third begins when the half one of 5 + 2 s has ended."""
    run, half = budget._Run(1.0, 10.0, 2.0), budget._Run(0.5, 10.0, 2.0)
    assert budget._end([run, half, run], 2, 100) == pytest.approx(7 + 12)
    assert budget._end([run, half, run], 3, 100) == pytest.approx(12)
    assert budget._end([run, half, run], 1, 100) == pytest.approx(31)


def test_speed_of_a_run_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task for task in tasks_of(find_study("loss-normalization"), "tiny", 1, Path("out")) if task.variant]
    source = open_sample("test")

    def rates(found: SimpleNamespace, jobs: int, *, cores: int = 8, device: str = "cpu") -> float:
        monkeypatch.setattr(budget, "num_cores", lambda: cores)
        monkeypatch.setattr(budget, "choose_device", lambda name: torch.device(device))
        monkeypatch.setattr(budget, "estimate", lambda *args, **how: found)
        (rate,) = set(budget._measure(tasks, source, jobs).values())
        return rate

    assert rates(found_speed(100.0), 4) == pytest.approx(90)
    assert rates(found_speed(100.0), 16) == pytest.approx(45)  # two share a core
    assert rates(found_speed(100.0), 2, device="cuda") == pytest.approx(45)  # and a GPU
    assert rates(found_speed(100.0, 200.0, resident=False), 4) == pytest.approx(50)  # decoding is of all cores
    assert rates(found_speed(100.0, 200.0), 4) == pytest.approx(90)


def test_speed_test_of_a_study_is_a_real_one(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each variant once, on as many threads as a job has; then there is time for many photos."""
    torch.set_num_threads(2)
    small = {name: value for name, value in QUICK.items() if name != "epochs"}
    arguments = {"data": str(photos), "settings": small, "seeds": 1, "out": tmp_path / "study"}
    begun = begin("loss-normalization", minutes=5.0, jobs=2, listener=Listener(print), **arguments)
    assert torch.get_num_threads() == 2
    content = json.loads((tmp_path / "study" / "budget.json").read_text())
    assert set(content["images_per_second"]) == {"l2", "layer", "batch", "none"}
    assert all(rate > 1 for rate in content["images_per_second"].values())
    assert begun.tasks[1].config.epochs * 40 == pytest.approx(content["images_per_run"])
    told = capsys.readouterr().out
    assert f"{content['images_per_run']:,} images per run: all runs take about " in told and " of the 5 minutes" in told


def test_variant_of_fewer_passes_counts_for_less_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([375.0, 187.5, 375.0, 375.0, 375.0, 375.0])
    monkeypatch.setattr(budget, "estimate", lambda *args, **how: found_speed(next(rates)))
    begun = begin("asymmetry", seeds=1, jobs=1, minutes=10.0, out=tmp_path)
    none, crops = (task.config.epochs * 12_000 for task in begun.tasks[1:3])
    share = 8 / (8 + 18 * (24 / 32) ** 2)
    needed = 6 * 15 + 5 * 3000 / 300 + 3000 / 150 + 20_000 * (5 / 300 + share / 150)
    assert 540 < needed < 600 < needed + 10_000 * (5 / 300 + share / 150)
    assert (none, crops) == pytest.approx((20_000, 20_000 * share))


def test_study_that_goes_on_keeps_its_images_and_measures_nothing(tmp_path: Path, measured: list[Config]) -> None:
    first = begin("loss-normalization", jobs=1, out=tmp_path)
    assert len(measured) == 4
    for asked in ({}, {"jobs": 1}, {"images": 20_000}):
        assert begin("loss-normalization", out=tmp_path, **asked).tasks == first.tasks
    assert len(measured) == 4
    content = json.loads((tmp_path / "budget.json").read_text())
    assert content["images_per_run"] == 20_000 and len(content["images_per_second"]) == 4
    more = begin("loss-normalization", seeds=4, out=tmp_path)
    assert more.tasks[: len(first.tasks)] == first.tasks
    with pytest.raises(
        ConfigError, match=r"another protocol: .*20,000 images per run.* there, .*30,000 images per run"
    ):
        begin("loss-normalization", out=tmp_path, images=30_000)
    with pytest.raises(ConfigError, match=r"was started with 20,000 images per run. Continue without --minutes, or"):
        begin("loss-normalization", out=tmp_path, minutes=5.0)
    assert json.loads((tmp_path / "budget.json").read_text()) == content
    asked = begin("loss-normalization", out=tmp_path / "asked", images=777)
    assert asked.tasks[1].config.epochs * 12_000 == pytest.approx(777)
    assert begin("loss-normalization", out=tmp_path / "asked").tasks == asked.tasks
    timed = begin("loss-normalization", out=tmp_path / "timed", minutes=20.0, jobs=1)
    assert begin("loss-normalization", out=tmp_path / "timed", minutes=20.0).tasks == timed.tasks
    assert len(measured) == 8


@pytest.mark.parametrize("left", ["", "{torn", "{}", '{"images_per_run": "many"}'])
def test_study_whose_budget_is_gone_asks_for_the_images(left: str, tmp_path: Path, measured: list[Config]) -> None:
    first = begin("loss-normalization", jobs=1, out=tmp_path)
    (tmp_path / "budget.json").write_text(left)
    with pytest.raises(
        ConfigError, match=r"without a usable budget.json. Continue with the --images of its protocol.txt"
    ):
        begin("loss-normalization", out=tmp_path)
    assert begin("loss-normalization", images=20_000, out=tmp_path).tasks == first.tasks
    assert begin("loss-normalization", out=tmp_path).tasks == first.tasks


def test_study_of_another_scale_has_its_own_epochs_unless_a_time_is_given(
    tmp_path: Path, measured: list[Config]
) -> None:
    begun = begin("loss-normalization", scale="small", data="sample", out=tmp_path / "a")
    assert {task.config.epochs for task in begun.tasks} == {10.0}
    assert not measured and not (tmp_path / "a" / "budget.json").exists()
    timed = {"minutes": 20.0, "jobs": 1}
    begun = begin("loss-normalization", scale="small", data="sample", out=tmp_path / "b", **timed)
    assert {task.config.epochs for task in begun.tasks} == {4_000 / 12_000}
    with pytest.raises(ConfigError, match=r"without a usable budget.json"):
        begin("loss-normalization", scale="small", data="sample", out=tmp_path / "a", **timed)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"minutes": 1.0},
            r"minutes 1 is too short for 12 runs, which take about 15 minutes with 2,560 images each",
        ),
        ({"minutes": 0.0}, r"minutes must be a number above 0; found 0"),
        ({"minutes": math.nan}, r"minutes must be a number above 0; found nan"),
        ({"images": 63}, r"images must be at least 64, one batch for every variant; found 63"),
        ({"images": 5000, "minutes": 5.0}, r"Both minutes \(5\) and images \(5000\) are given"),
        ({"images": 5000, "settings": {"epochs": 1.0}}, r"Both epochs in settings and minutes or images are given"),
        ({"jobs": 0}, r"jobs must be at least 1; found 0"),
    ],
)
def test_study_refuses_a_budget_that_cannot_be(
    asked: dict[str, Any], told: str, tmp_path: Path, measured: list[Config]
) -> None:
    with pytest.raises(ConfigError, match=told):
        begin("loss-normalization", out=tmp_path / "out", **{"jobs": 1, **asked})
    assert not (tmp_path / "out").exists()


def test_study_refuses_fewer_images_than_a_batch(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"batch-size needs at least 256 images, one batch; folder .* has 40. Give more"
    ):
        begin("batch-size", data=str(photos), out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"images must be at least 145, one batch for every variant; found 100"):
        begin("asymmetry", images=100, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
