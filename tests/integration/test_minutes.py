"""Trainings that are given a time."""

import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import byol
from byol.assembly.settings import Asked
from byol.cli.main import main
from byol.config import Config, EncoderConfig, replaced, validate
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import write_description
from byol.engine.pace import Deadline
from byol.errors import ConfigError
from byol.recipes.recipe import Recipe, Size
from byol.runtime import checkpoint
from byol.runtime.ranks import Ranks
from byol.training import plan as plan_module
from byol.training.plan import TimeLimit, plan_by_time
from byol.views.views import Views
from tests.conftest import SMALL
from tests.integration.small_runs import stop_at

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 16, 16, 3), dtype=np.uint8)
PICTURES = ArrayImages(PIXELS)
SIZES = (
    Size({"encoder.name": "resnet34", "views.size": 24}, least_images=100_000),
    Size({"encoder.name": "resnet18", "views.size": 16}, least_images=10_000),
    Size({"encoder.name": "resnet10"}),
)


@pytest.mark.parametrize(
    ("images_per_second", "settings", "expected"),
    [
        (2000, {}, ("resnet34", 24)),
        (1000, {}, ("resnet18", 16)),
        (50, {}, ("resnet10", 32)),
        (2000, {"views.size": 20}, ("resnet34", 20)),
        (50, {"encoder.name": "resnet50"}, ("resnet50", 32)),
    ],
)
def test_plan_takes_the_largest_size_that_sees_enough_images(
    images_per_second: float, settings: dict, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (images_per_second, 16, 0))
    base = replaced(byol.recipes.recipe("small").config, SMALL)
    recipe = Recipe(base, "", "", "", sizes=SIZES)
    config = replaced(base, settings)
    began = time.monotonic()
    seen = profile(PICTURES, SkippedImages())
    found = plan_by_time(
        TimeLimit(69 / 60, began), Asked(config, recipe, frozenset(settings)), PICTURES, seen, Ranks()
    )  # 60 s are left for training: 9 go to the end
    assert (found.config.encoder.name, found.config.views.size) == expected
    assert found.deadline == pytest.approx(began + 60)
    steps = found.config.epochs * len(PICTURES) / 16
    assert steps == pytest.approx(60 * images_per_second / 16, rel=0.05)
    assert steps == int(steps)
    assert found.notes[-1].endswith(f": {int(steps):,} steps of 16")


def test_plan_of_growing_views_measures_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {16: 400.0, 24: 200.0, 32: 100.0}
    monkeypatch.setattr(plan_module, "train_a_little", lambda config, *_: (rates[config.views.size], 16, 0))
    config = replaced(byol.recipes.recipe("small").config, {**SMALL, "views.growth": (0.5, 0.75)})
    seen = profile(PICTURES, SkippedImages())
    began = time.monotonic()
    found = plan_by_time(
        TimeLimit(69 / 60, began), Asked(config, Recipe(config, "", "", "")), PICTURES, seen, Ranks()
    )  # 69 s, of which 60 are left for training
    assert found.stage_costs == pytest.approx((16 / 400, 16 / 200, 16 / 100))
    per_image = (1 / 400 + 1 / 200 + 1 / 100) / 3
    assert found.config.epochs * len(PICTURES) == pytest.approx(60 / per_image, rel=0.05)


@pytest.mark.parametrize(
    ("images_per_second", "settings", "expected"),
    [
        (200, {}, (0.25, (0.5, 0.75))),
        (500, {}, (0.25, ())),
        (1000, {}, (0.5, ())),
        (200, {"views.growth": ()}, (0.25, ())),
        (200, {"encoder.width": 1.0}, (1.0, (0.5, 0.75))),
    ],
)
def test_plan_of_tonight_by_what_fits_a_quarter_of_an_hour(
    images_per_second: float, settings: dict, expected: tuple[float, tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Config] = []
    rate = (images_per_second, 16, 0)
    monkeypatch.setattr(plan_module, "train_a_little", lambda config, *_: (measured.append(config), rate)[1])
    recipe = byol.recipes.recipe("tonight")
    config, seen = replaced(recipe.config, settings), profile(PICTURES, SkippedImages())
    found = plan_by_time(
        TimeLimit(15, time.monotonic()), Asked(config, recipe, frozenset(settings)), PICTURES, seen, Ranks()
    )
    assert (found.config.encoder.width, found.config.views.growth) == expected
    assert len(measured) == len(set(measured))  # what two sizes share is measured once


def planned_at(
    images_per_second: dict[float, float], side: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, list[Any]]:
    """The plan of `small` for a quarter of an hour with pictures of `side` px, and (width, view size) of every speed test."""
    tested: list[tuple[float, int]] = []

    def speed(config: Config, *_: Any) -> tuple[float, int, int]:
        tested.append((config.encoder.width, config.views.size))
        return images_per_second[config.encoder.width], 16, 0

    monkeypatch.setattr(plan_module, "train_a_little", speed)
    pictures = ArrayImages(np.random.default_rng(0).integers(0, 255, (16, side, side, 3), dtype=np.uint8))
    asked = Asked(byol.recipes.recipe("small").config, byol.recipes.recipe("small"))
    limit = TimeLimit(15, time.monotonic())
    return plan_by_time(limit, asked, pictures, profile(pictures, SkippedImages()), Ranks()), tested


def test_plan_tests_no_size_that_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    few, tested = planned_at({0.25: 100.0}, 200, monkeypatch)
    assert tested == [(0.25, 128)] and few.config.encoder.width == 0.25 and not few.is_largest
    more, tested = planned_at({0.25: 1000.0, 0.5: 400.0}, 200, monkeypatch)  # 356,000 images at width 32
    assert tested == [(0.25, 128), (0.5, 128)] and more.config.encoder.width == 0.25
    assert "this size needs at least" in more.notes[0] and "width 16" in more.notes[-1]
    most, tested = planned_at({0.25: 9000.0, 0.5: 5000.0, 1.0: 3000.0}, 200, monkeypatch)
    assert tested == [(0.25, 128), (0.5, 128), (1.0, 128)]
    assert most.config.method.name == "byol" and most.is_largest


def test_plan_of_small_images_may_grow_their_views(monkeypatch: pytest.MonkeyPatch) -> None:
    grown, tested = planned_at({0.25: 100.0}, 64, monkeypatch)
    assert tested == [(0.25, 32), (0.25, 48), (0.25, 64)] and grown.config.views.growth == (0.5, 0.75)


def test_plan_of_the_size_that_was_asked_for_measures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr(plan_module, "train_a_little", lambda *given: (measured.append(given), (50, 16, 0))[1])
    base = replaced(byol.recipes.recipe("small").config, SMALL)
    recipe = Recipe(base, "", "", "", sizes=(Size({"encoder.width": 1.0}, least_images=100_000), Size()))
    seen = profile(PICTURES, SkippedImages())
    for width in (0.25, base.encoder.width):  # the recipe's own, too, where the user names it
        asked = replaced(base, {"encoder.width": width})
        found = plan_by_time(
            TimeLimit(1.1, time.monotonic()),
            Asked(asked, recipe, frozenset({"encoder.width"})),
            PICTURES,
            seen,
            Ranks(),
        )
        assert found.config.encoder.width == width
        assert len(found.notes) == len(measured) == 1
        name = "ResNet-18" if width == 1 else f"ResNet-18 of width {64 * width:g}"
        assert found.notes[0].startswith(f"BYOL, {name}, views of 32 px: 50 images/s")
        measured.clear()


def planned_small(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Config:
    """What the recipe `small` plans where little can be trained on."""
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (50, 16, 0))
    recipe, seen = byol.recipes.recipe("small"), profile(PICTURES, SkippedImages())
    config = replaced(recipe.config, {"views.mean": [0.5], "views.std": [0.2], **settings})
    asked = Asked(config, recipe, frozenset(settings))
    return plan_by_time(TimeLimit(1.1, time.monotonic()), asked, PICTURES, seen, Ranks()).config


def test_plan_leaves_an_encoder_that_the_user_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(**settings: Any) -> EncoderConfig:
        given = {f"encoder.{name}": value for name, value in settings.items()}
        return planned_small(monkeypatch, **given).encoder

    assert (named().name, named().width) == ("resnet10", 0.25)
    assert (named(width=0.5).name, named(width=0.5).width) == ("resnet10", 0.5)
    assert (named(name="resnet50").name, named(name="resnet50").width) == ("resnet50", 1.0)


@pytest.mark.parametrize("weights", [{"encoder.pretrained": True}, {"encoder.init": "somewhere"}])
def test_plan_leaves_everything_to_a_start_from_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: dict[str, Any]
) -> None:
    if "encoder.init" in weights:
        weights = {"encoder.init": str(tmp_path)}
        write_description(tmp_path, EncoderDescription("resnet18", {}, 512, 3, 32, (0.5,) * 3, (0.25,) * 3, True))
    kept, recipes = planned_small(monkeypatch, **weights), byol.recipes.recipe("small").config
    assert (kept.encoder, kept.method) == (replaced(recipes, weights).encoder, recipes.method)
    assert (kept.heads, kept.optimizer, kept.batch_size) == (recipes.heads, recipes.optimizer, 256)


def test_plan_leaves_a_method_that_the_user_named(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = byol.recipes.recipe("small").config
    free = planned_small(monkeypatch)
    assert (free.method.name, free.batch_size, free.encoder.name) == ("simclr", 128, "resnet10")
    kept = planned_small(monkeypatch, **{"method.name": "byol"})
    assert (kept.method, kept.heads, kept.optimizer) == (recipes.method, recipes.heads, recipes.optimizer)
    assert (kept.batch_size, kept.encoder.name, kept.encoder.width) == (256, "resnet10", 0.25)


def test_sizes_of_recipes_are_settings_that_hold() -> None:
    sized = [recipe for recipe in map(byol.recipes.recipe, byol.recipes.RECIPES) if recipe.sizes]
    assert sized
    for recipe in sized:
        configs = [replaced(recipe.config, size.settings) for size in recipe.sizes]
        for config in configs:
            validate(config)
        least = [size.least_images for size in recipe.sizes]
        assert least == sorted(set(least), reverse=True) and least[-1] == 0
        assert all(one != other for one, other in itertools.pairwise(configs))


def test_plan_of_unequal_images_finds_their_size_and_waits_for_decoding(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (1e9, 16, 0))  # decoding is what takes time
    cropped = []
    crop = Views.crop

    def seen_crop(views: Views, image: np.ndarray, step: int, row: int) -> torch.Tensor:
        cropped.append(views.size)
        return crop(views, image, step, row)

    monkeypatch.setattr(Views, "crop", seen_crop)
    source, recipe = ImageFolder(photos, None), byol.recipes.recipe("small")
    seen = profile(source, SkippedImages())
    found = plan_by_time(TimeLimit(1, time.monotonic()), Asked(recipe.config, recipe), source, seen, Ranks())
    assert set(cropped) == {seen.short_side} and seen.short_side > 0
    steps = found.config.epochs * len(source) / 8  # the largest power of two up to a quarter of the 40 images
    assert 0 < steps < 54 * 1e6 / 8  # at the rate of decoding, not of the made-up training


def test_plan_refuses_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = byol.recipes.recipe("small")
    config = replaced(recipe.config, SMALL)
    seen = profile(PICTURES, SkippedImages())

    def refused(minutes: float, sentence: str, **settings: Any) -> None:
        asked = replaced(config, settings)
        with pytest.raises(ConfigError, match=sentence):
            plan_by_time(
                TimeLimit(minutes, time.monotonic()),
                Asked(asked, recipe, frozenset(SMALL) | frozenset(settings)),
                PICTURES,
                seen,
                Ranks(),
            )

    refused(0, "above 0; found 0")
    refused(float("nan"), "above 0; found nan")
    refused(float("inf"), "above 0; found inf")
    refused(10, "Give only one of them", epochs=7)
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (1.0, 16, 0))
    refused(
        1.0,
        r"60 seconds are too few: start, speed test and report take \d+ seconds.*40 steps of 16 images, takes 640 seconds at 1 images/s. Give --minutes 11 or more",
    )
    refused(0.1, r"6 seconds are too few")


def moved_end(monkeypatch: pytest.MonkeyPatch, at: int, last_step: int) -> None:
    """Moves the end of trainings by time: after `at` steps the plan becomes `last_step`."""
    monkeypatch.setattr(plan_module, "train_a_little", lambda *_: (16 * 100 / 54, 16, 0))  # about 100 steps in 54 s
    monkeypatch.setattr(Deadline, "fitting_steps", lambda _, step, total, left: last_step if step == at else 0)


def test_training_by_minutes_moves_its_end_and_records_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_end(monkeypatch, 19, 39)
    overrides = {**SMALL, "method.name": "byol"}
    run = byol.pretrain(PIXELS, out=tmp_path / "run", overrides=overrides, minutes=1, say=lambda line: None)
    assert run.finished
    record = json.loads((run.path / "run.json").read_text())
    assert record["plan"]["minutes"] == 1
    assert record["derived"]["total_steps"] == 39
    state = checkpoint.load_newest(run.path / "checkpoints", print)[1]
    assert state["step"] == 39
    (segment,) = state["segments"]
    assert (segment["first_step"], segment["last_step"], segment["position"]) == (19, 39, 19)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 38
    assert rows[-1]["learning_rate"] < rows[18]["learning_rate"] / 10  # the schedule ends where the steps do
    assert rows[19]["learning_rate"] == pytest.approx(rows[18]["learning_rate"], rel=0.1)  # without a jump
    assert rows[-1]["tau"] > 0.9999


def test_resumed_training_keeps_its_moved_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_end(monkeypatch, 5, 24)
    with monkeypatch.context() as patch:
        stop_at(11, patch)
        settings: dict[str, Any] = {"overrides": SMALL, "minutes": 1.0, "say": lambda line: None}
        assert not byol.pretrain(PIXELS, out=tmp_path / "whole", **settings).finished
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    said: list[str] = []
    assert byol.resume(tmp_path / "whole", source=PIXELS, say=said.append).finished
    assert any("at step 11 of 24" in line for line in said)
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        assert not byol.resume(tmp_path / "parts", source=PIXELS, say=said.append).finished
    assert byol.resume(tmp_path / "parts", source=PIXELS, say=said.append).finished
    whole, parts = (checkpoint.load_newest(tmp_path / n / "checkpoints", print)[1] for n in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 24
    assert all(torch.equal(whole["method"][name], parts["method"][name]) for name in whole["method"])


def test_resume_of_a_finished_run_with_minutes_trains_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = byol.pretrain(PIXELS, out=tmp_path / "run", overrides={**SMALL, "epochs": 3}, say=lambda line: None)
    monkeypatch.setattr(Deadline, "fitting_steps", lambda _, step, total, left: 30 if step == 13 else 0)
    again = byol.resume(run.path, source=PIXELS, minutes=1, say=lambda line: None)
    assert again.finished
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(30))
    rates = [row["learning_rate"] for row in rows]
    assert rates[11] < 0.1 * rates[0] or rates[11] < 0.1 * max(rates)
    assert max(rates[13:]) > 3 * rates[11]  # the rate rises again
    assert rates[-1] < 0.1 * max(rates[13:])  # and falls to the end
    with pytest.raises(ConfigError, match="above 0"):
        byol.resume(run.path, source=PIXELS, minutes=0)


def test_command_adds_minutes_to_a_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    out = str(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--data", str(photos), "--out", out, "--epochs", "2", *settings])
    assert ended.value.code == 0
    monkeypatch.setattr(Deadline, "fitting_steps", lambda _, step, total, left: 9 if step == 6 else 0)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--resume", out, "--minutes", "1"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 9


def test_command_by_minutes_trains_and_says_what_it_chose(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Deadline, "fitting_steps", lambda _, step, total, left: 8 if step == 4 else 0)
    settings = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--data", str(photos), "--out", str(tmp_path / "run"), "--minutes", "10", *settings])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "plan for at most 10 min: SimCLR, ResNet-18 of width 8, views of " in said
    lines = said.splitlines()
    assert len(lines) <= 12, said
    assert lines[-1] == f"report {tmp_path / 'run' / 'report.html'}: open it in a browser"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 8


def test_time_limit_of_an_own_encoder_is_one_sentence(tmp_path: Path) -> None:
    from torch import nn

    with pytest.raises(ConfigError, match="leave minutes out"):
        byol.pretrain(PIXELS, out=tmp_path / "run", encoder=nn.Flatten(), minutes=1, overrides=SMALL)
    assert TimeLimit(1, 0).minutes == 1
    assert not (tmp_path / "run").exists()
