"""Asymmetric settings from config to a training and its measures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import byol
from byol.assembly.networks import build_method
from byol.assembly.views import build_views
from byol.config import Config, replaced
from byol.data.open import open_source
from byol.errors import ConfigError
from byol.evaluate.branch_measures import measure_branches
from byol.methods.siamese import PairMethod
from byol.nets.norm import LocalBatchNorm1d, SplitBatchNorm1d
from byol.recipes import recipe
from byol.runtime.view_roles import ViewBatch
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(32)])


def test_strong_augmentation_of_grey_images_is_refused(tmp_path: Path) -> None:
    overrides = {**SMALL, "asymmetry.strong_augmentation": "source"}
    with pytest.raises(ConfigError, match="needs RGB images; these have 1 channel"):
        byol.pretrain(PICTURES[..., :1], "small", out=tmp_path / "run", overrides=overrides, say=lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("side", ["source", "target", "both"])
def test_split_batch_norm_changes_the_chosen_projector(side: str) -> None:
    settings = {**SMALL, "views.mean": (0.5,), "views.std": (0.25,), "asymmetry.split_batch_norm": side}
    made = build_method(replaced(Config(), settings), 3)
    assert isinstance(made, PairMethod)
    assert made.target is not None
    found = [any(isinstance(m, LocalBatchNorm1d) for m in n.projector.modules()) for n in (made.online, made.target)]
    assert found == [side != "target", side != "source"]
    assert [n for n, _ in made.online.named_parameters()] == [n for n, _ in made.target.named_parameters()]
    with pytest.raises(ConfigError, match="needs batch norm in the projector"):
        build_method(replaced(Config(), {**settings, "heads.projector_norm": "layer"}), 3)


@pytest.mark.parametrize("name", ["simsiam", "simclr"])
@pytest.mark.parametrize("side", ["source", "target", "both"])
def test_split_batch_norm_of_one_network_is_of_the_chosen_side(side: str, name: str) -> None:
    """Where the online network is the target too, with a stop-gradient and without: compared by hand."""
    settings = {
        **SMALL, "encoder.name": "resnet10", "views.mean": (0.5,), "views.std": (0.25,), "asymmetry.split_parts": 3,
        "asymmetry.split_batch_norm": side, "method.name": name,
    }  # fmt: skip
    made = build_method(replaced(Config(), settings), 3).double()
    assert isinstance(made, PairMethod)
    seen: list[tuple[torch.Tensor, ...]] = []
    made.loss = lambda *encodings: seen.append(encodings) or encodings[0].sum() + encodings[2].sum()
    view1, view2 = torch.rand(2, 12, 3, 16, 16, dtype=torch.float64)
    made(ViewBatch((view1,), (view2,))).loss.backward()
    prediction1, _, target1, _ = seen[0]
    assert target1.requires_grad == (name == "simclr")
    representation = made.online.encoder(made.normalize(view1))
    for encoding, own in ((prediction1, "source"), (target1, "target")):
        parts = 3 if side in (own, "both") else 1
        projection = torch.cat([_project(made.online.projector, part) for part in representation.split(12 // parts)])
        expected = made.predictor(projection) if own == "source" else projection
        assert torch.allclose(encoding, expected, atol=1e-9), own


def _project(projector: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Its layers by hand: batch norm over exactly these rows."""
    for layer in projector.children():
        if isinstance(layer, nn.BatchNorm1d):
            scaled = (rows - rows.mean(0)) / (rows.var(0, correction=0) + layer.eps).sqrt()
            rows = scaled * layer.weight + layer.bias
        else:
            rows = layer(rows)
    return rows


def test_split_batch_norm_standardises_each_part() -> None:
    norm = SplitBatchNorm1d(3)
    norm.parts = 4
    out = norm(torch.randn(16, 3) * torch.arange(1, 17)[:, None])
    for part in out.split(4):
        assert torch.allclose(part.mean(0), torch.zeros(3), atol=1e-5)
        assert torch.allclose(part.std(0, correction=0), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"asymmetry.small_crops": 2, "asymmetry.small_size": 16, "method.name": "simclr"},
        {"asymmetry.scale_mix": "source", "asymmetry.weak_augmentation": "target"},
        {"asymmetry.mean_encoding": "target", "asymmetry.split_batch_norm": "source"},
        {"asymmetry.mean_encoding": "both", "asymmetry.split_batch_norm": "source", "method.name": "simsiam"},
        {"asymmetry.strong_augmentation": "source", "asymmetry.weak_augmentation": "target"},
    ],
)
def test_asymmetric_run_trains(tmp_path: Path, settings: dict) -> None:
    overrides = {**SMALL, "encoder.name": "resnet10", **settings}
    run = byol.pretrain(PICTURES, "small", out=tmp_path / "run", epochs=1, overrides=overrides, say=lambda line: None)
    assert run.finished


def test_asymmetric_run_from_files_trains(photos: Path, tmp_path: Path) -> None:
    """Images of two sizes, so that crops are made one by one as workers make them; a small view of half the side."""
    overrides = {**SMALL, "encoder.name": "resnet10", "asymmetry.small_crops": 1, "asymmetry.small_size": 0}
    run = byol.pretrain(
        str(photos), "small", out=tmp_path / "run", epochs=1, overrides=overrides, say=lambda line: None
    )
    assert run.finished
    config = json.loads((run.path / "run.json").read_text())["config"]
    assert config["asymmetry"]["small_size"] == config["views"]["size"] // 2


@pytest.mark.parametrize(("averaged", "other"), [("target", "source"), ("source", "target")])
def test_branch_variance_falls_on_the_side_whose_views_are_averaged(photos: Path, averaged: str, other: str) -> None:
    source = open_source(str(photos))
    base = replaced(recipe("sample").config, {**SMALL, "views.mean": (0.5,), "views.std": (0.25,)})

    def measured(side: str) -> dict[str, float]:
        config = replaced(base, {"asymmetry.mean_encoding": side})
        found = measure_branches(build_method(config, 3), source, 3, build_views(config), 16, torch.device("cpu"))
        return {"source": found.source_variance, "target": found.target_variance}

    plain, quieter = measured("none"), measured(averaged)
    assert 0 < quieter[averaged] < 0.9 * plain[averaged]
    assert quieter[other] == pytest.approx(plain[other], rel=1e-4)


def test_branch_measures_of_one_network_are_the_same_for_both_branches_and_any_batch(photos: Path) -> None:
    """SimCLR's branches are one network, which sees both distributions of views; batches do not limit the rank."""
    settings = {**SMALL, "views.mean": (0.5,), "views.std": (0.25,), "method.name": "simclr"}
    config = replaced(recipe("sample").config, {**settings, "encoder.norm": "none", "heads.projector_norm": "none"})
    source, made = open_source(str(photos)), build_method(config, 3)
    found = {
        size: measure_branches(made, source, 3, build_views(config), size, torch.device("cpu"), 32) for size in (2, 16)
    }
    assert found[2].source_variance == pytest.approx(found[2].target_variance, rel=1e-4)
    assert found[2].as_dict() == pytest.approx(found[16].as_dict(), rel=0.2)
