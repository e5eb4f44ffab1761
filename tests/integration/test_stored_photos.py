"""Trainings on photos that are shrunk once, and what reads the same store afterwards."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import byol
from byol.assembly.settings import Asked, resolve
from byol.commands.diagnose import diagnose
from byol.commands.evaluate import evaluate
from byol.config import replaced
from byol.data import prepare_photos
from byol.data.decode import EncodedImages
from byol.data.image_folder import ImageFolder
from byol.data.loader import DecodingFeed, ResidentFeed
from byol.data.photo_store import is_stored
from byol.data.profile import DataProfile
from byol.encoder.encoder_file import load_encoder, read_description
from byol.errors import ConfigError
from byol.recipes import RECIPES, recipe
from byol.training.trainer import Trainer
from tests.conftest import SMALL, encoded, picture
from tests.integration.small_runs import losses, stop_at

SETTINGS = {**SMALL, "epochs": 4, "views.stored_side": 40, "workers": -1}


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """36 JPEG photos of two shapes, much larger than their views, in two classes, and one broken file."""
    monkeypatch.setattr(prepare_photos, "FEWEST_PIXELS", 0)
    for i in range(36):
        path = tmp_path / "large" / ("cat" if i % 2 else "dog") / f"{i:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(i, *((360, 480) if i % 3 else (480, 360))), "JPEG"))
    (tmp_path / "large" / "cat" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "large"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Short sides with which images were decoded."""
    sides: list[int] = []
    read = EncodedImages.read

    def counted(source: EncodedImages, index: int, channels: int, short_side: int = 0) -> np.ndarray:
        sides.append(short_side)
        return read(source, index, channels, short_side)

    monkeypatch.setattr(EncodedImages, "read", counted)
    return sides


def train(out: Path, folder: Path, **options) -> tuple[byol.Run, list[str]]:
    lines: list[str] = []
    spec = byol.DataSpec(str(folder), cache=str(folder.parent / "cache"), cache_limit=options.pop("limit", None))
    run = byol.pretrain(spec, "small", out=out, overrides={**SETTINGS, **options}, say=lines.append)
    return run, lines


def test_training_on_stored_photos_stops_continues_and_is_used(
    large: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = []
    create = Trainer.create

    def seen(*arguments):
        feeds.append(create(*arguments).feed)
        return create(*arguments)

    monkeypatch.setattr(Trainer, "create", seen)
    whole, lines = train(tmp_path / "whole", large)
    assert sum("37 photos with a short side of at most 40 px" in line for line in lines) == 1
    assert decoded.count(40) == 37  # each once
    assert isinstance(feeds[0], DecodingFeed) and feeds[0].num_workers == 0
    record = json.loads((whole.path / "run.json").read_text())
    assert record["config"]["views"]["stored_side"] == 40 and record["asked"]["views"]["stored_side"] == 40
    skipped = [json.loads(line) for line in (whole.path / "skipped.jsonl").read_text().splitlines()]
    assert [row["name"] for row in skipped] == ["cat/broken.jpg"]
    assert read_description(whole.path).stored_side == 40

    without, lines = train(tmp_path / "without", large, limit=0, workers=1)
    assert not any("photos with" in line for line in lines)
    assert losses(without.path) == losses(whole.path)  # the store changes no pixel

    with monkeypatch.context() as stopping:
        stop_at(3, stopping)
        stopped, _ = train(tmp_path / "stopped", large)
    assert not stopped.finished
    shutil.rmtree(tmp_path / "cache")
    decoded.clear()
    moved = byol.DataSpec("", cache=str(tmp_path / "moved"))
    assert byol.resume(stopped.path, data=moved, say=lambda line: None).finished
    assert (tmp_path / "moved").exists() and not (tmp_path / "cache").exists()
    assert losses(stopped.path) == losses(whole.path)
    assert decoded.count(40) == 37  # the store was made again

    decoded.clear()
    found = byol.embed(stopped.path, str(large), tmp_path / "vectors.npz")
    assert (len(found.vectors), len(found.skipped)) == (36, 1) and not decoded
    (result,) = evaluate(stopped.path, str(large), ["knn"], out=tmp_path)
    assert result.record["skipped_images"] == 1 and not decoded
    assert result.record["train"]["fingerprint"]
    diagnose(stopped.path, str(large), num_images=16, num_views=2)
    assert not decoded

    vectors = np.load(tmp_path / "vectors.npz")
    encoder, source = load_encoder(stopped.path), ImageFolder(large)
    pixels = source.read([source.name(i) for i in range(len(source))].index(str(vectors["name"][5])), 3)
    full = encoder(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    assert functional.cosine_similarity(full, torch.from_numpy(vectors["vector"][5:6]), dim=1) > 0.95


def test_stored_photos_of_one_shape_train_from_memory(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, path in enumerate(sorted(large.glob("*/*.jpg"))):
        path.write_bytes(encoded(picture(i, *((360, 480) if i % 3 else (720, 960))), "JPEG"))
    feeds = []
    create = Trainer.create
    monkeypatch.setattr(Trainer, "create", lambda *a: feeds.append(trainer := create(*a)) or trainer)
    run, _ = train(tmp_path / "run", large)
    assert run.finished and isinstance(feeds[0].feed, ResidentFeed)


def test_plan_measures_stored_photos(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []

    def plan(limit, asked, source, *rest):
        planned.append(source)
        raise RuntimeError("far enough")

    monkeypatch.setattr("byol.commands.pretrain.plan_by_time", plan)
    settings = {name: value for name, value in SETTINGS.items() if name != "epochs"}
    spec = byol.DataSpec(str(large), cache=str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="Give only one of them"):  # before anything is stored
        byol.pretrain(spec, out=tmp_path / "run", overrides=SETTINGS, minutes=5, say=lambda line: None)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(RuntimeError):
        byol.pretrain(spec, out=tmp_path / "run", overrides=settings, minutes=5, say=lambda line: None)
    assert is_stored(planned[0])


def test_side_is_chosen_from_the_views() -> None:
    def side(**views) -> int:
        base = recipe("small")
        config = replaced(base.config, {f"views.{name}": value for name, value in views.items()})
        data = DataProfile(3, 3000, (0.5,) * 3, (0.2,) * 3)
        return resolve(Asked(config, base), data, 1000).config.views.stored_side

    assert (side(), side(size=96), side(size=256), side(size=256, stored_side=300)) == (288, 288, 320, 300)
    assert side(stored_side=0) == 0
    with pytest.raises(ConfigError, match=r"views\.stored_side is 100, but views have 128 px"):
        side(stored_side=100)
    with pytest.raises(ConfigError, match=r"views\.stored_side must be -1"):
        byol.pretrain(np.zeros((20, 8, 8), np.uint8), overrides={"views.size": 96, "views.stored_side": 50})
    kept = {name: recipe(name).config.views.stored_side for name in RECIPES}
    assert {name for name, value in kept.items() if value} == {"small", "scan", "satellite", "tonight"}
