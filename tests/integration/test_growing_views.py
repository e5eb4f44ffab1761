"""Views that grow during the training (progressive resizing)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import byol
from byol.assembly.settings import Asked
from byol.assembly.views import by_view_size
from byol.commands.doctor import estimate
from byol.commands.resume import resume
from byol.config import replaced
from byol.data.arrays import ArrayImages
from byol.data.image_folder import ImageFolder
from byol.data.loader import BatchPlan, DecodingFeed, Feed, ResidentFeed
from byol.data.source import SkippedImages
from byol.engine.metrics import read_metrics
from byol.engine.micro_batches import views_by_part
from byol.engine.pace import Deadline
from byol.engine.schedule import Schedule
from byol.errors import ConfigError, EncoderError
from byol.methods.siamese import PairMethod
from byol.recipes import recipe
from byol.runtime.view_roles import ViewBatch
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.policy import T_PRIME, T
from byol.views.views import Views
from tests.conftest import SMALL, picture
from tests.integration.small_runs import stop_at

PICTURES = np.stack([picture(i, 32, 32) for i in range(64)])
CPU = torch.device("cpu")
FIVE_STEPS = Schedule(0.1, 16, 5, 0, 0.99)
GROWING = {**SMALL, "views.growth": (0.5, 0.75), "asymmetry.small_crops": 1, "asymmetry.small_size": 16}


def seen_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sides of both views and of the small one, of every step that follows."""
    sizes: list[tuple[int, ...]] = []
    forward = PairMethod.forward

    def seen(self: PairMethod, views: ViewBatch, labels):
        sizes.append(tuple(view.shape[-1] for view in (views.view1, views.view2, views.small[0])))
        return forward(self, views, labels)

    monkeypatch.setattr(PairMethod, "forward", seen)
    return sizes


def test_parts_of_a_config() -> None:
    parts = by_view_size(replaced(recipe("small").config, {**GROWING, "views.size": 28}))
    assert [part.views.size for part in parts] == [14, 21, 28]
    assert [part.asymmetry.small_size for part in parts] == [8, 12, 16]
    assert all(part.views.growth == () for part in parts)


@pytest.mark.parametrize("kind", ["two views", "small crops"])
@pytest.mark.parametrize("workers", [0, 2])
def test_feeds_give_the_same_growing_views(photos: Path, kind: str, workers: int) -> None:
    for path in photos.rglob("*.jpg"):
        if int(path.stem) % 2:
            path.unlink()
    source, plan = ImageFolder(photos), BatchPlan(8, 4)
    crops = 1 if kind == "small crops" else 0
    roles = [asymmetric(T, T_PRIME, size, Asymmetry(crops, size // 2)) for size in (16, 24)]
    parts = [Views(part, 8, seed=1) for part in roles]
    images = np.stack([source.read(i, 3) for i in range(len(source))])
    resident = ResidentFeed(torch.from_numpy(images).permute(0, 3, 1, 2), None, plan, seed=5)
    decoding = DecodingFeed(source, 3, plan, 5, workers, SkippedImages())
    feeds: tuple[Feed, ...] = (resident, decoding)
    resident_made, decoded = (list(views_by_part(feed, parts, 1, FIVE_STEPS, CPU)) for feed in feeds)
    assert [made.views.view1.shape[-1] for made in resident_made] == [16] * 2 + [24] * 6  # steps 1, and 2 to 4
    for a, b in zip(resident_made, decoded, strict=True):
        assert len(a.views.small) == crops
        for one, other in zip(a.views, b.views, strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_views_grow_and_resuming_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = seen_sizes(monkeypatch)
    settings = {**GROWING, "epochs": 3}
    said: list[str] = []
    byol.pretrain(PICTURES, "small", out=tmp_path / "whole", overrides=settings, say=said.append)
    expected = [(16, 16, 8)] * 4 + [(24, 24, 12)] * 4 + [(32, 32, 16)] * 4
    assert sizes == expected
    assert any("views of 16, then 24, then 32 px" in line for line in said)
    sizes.clear()
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        byol.pretrain(PICTURES, "small", out=tmp_path / "parts", overrides=settings, say=lambda line: None)
    assert len(sizes) == 6
    assert resume(tmp_path / "parts", source=ArrayImages(PICTURES), say=lambda line: None).finished
    assert sizes == expected
    whole, parts = (load_file(tmp_path / name / "encoder.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert byol.load(tmp_path / "whole").description.image_size == 32


def test_corrected_plan_moves_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "fitting_steps", lambda _, step, total, left: 6 if step == 2 else 0)
    monkeypatch.setattr("byol.training.plan.train_a_little", lambda *_: (20.0, 16, 0))
    settings = {**GROWING, "views.growth": (0.5,)}
    sizes = seen_sizes(monkeypatch)
    run = byol.pretrain(PICTURES, "small", out=tmp_path / "run", overrides=settings, minutes=1, say=lambda line: None)
    assert (
        sizes == [(16, 16, 8)] * 4 + [(32, 32, 16)] * 2
    )  # the second step was far before the middle of the first plan
    assert read_metrics(run.path / "metrics.jsonl")[-1]["step"] == 5


def test_estimate_measures_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {16: 400.0, 24: 200.0, 32: 100.0}
    monkeypatch.setattr("byol.commands.doctor.train_a_little", lambda config, *_: (rates[config.views.size], 16, 0))
    config = replaced(recipe("small").config, GROWING)
    found = estimate(ArrayImages(PICTURES), Asked(config, recipe("small"), frozenset(SMALL)), epochs_are_final=False)
    assert found.trained_per_second == pytest.approx(3 / (1 / 400 + 1 / 200 + 1 / 100))


@pytest.mark.parametrize("growth", [(0.0,), (1.0,), (0.75, 0.5), (float("nan"),)])
def test_growth_that_is_none_is_refused(tmp_path: Path, growth: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"views\.growth must be within"):
        byol.pretrain(PICTURES, "small", out=tmp_path / "run", overrides={**SMALL, "views.growth": growth})
    assert not (tmp_path / "run").exists()


def test_encoder_of_one_size_is_refused_before_the_training(tmp_path: Path) -> None:
    settings = {**SMALL, "encoder.name": "vit_tiny_patch16_224", "views.growth": (0.5,), "encoder.width": 1.0}
    with pytest.raises(EncoderError, match="at 16 px"):
        byol.pretrain(PICTURES, "small", out=tmp_path / "run", overrides=settings, say=lambda line: None)
    assert not (tmp_path / "run").exists()
