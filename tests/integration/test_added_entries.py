"""A method is one entry: what docs/design.md tells to add is enough to train with it and to export its encoder."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from torch import Tensor

import byol
from byol.assembly.networks import METHODS, MethodParts
from byol.commands.export import export_encoder
from byol.config import MethodConfig
from tests.conftest import SMALL, picture

PICTURES = np.stack([picture(i, 32, 32) for i in range(32)])


def squared_distance(prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor) -> Tensor:
    return (prediction1 - target2).square().mean() + (prediction2 - target1).square().mean()


def test_an_added_method_trains_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = MethodParts("Plain distance", "mlp", "average", lambda m, gather: squared_distance)
    monkeypatch.setitem(METHODS, "distance", added)
    monkeypatch.setitem(MethodConfig.__annotations__, "name", Literal["byol", "distance"])
    overrides = {**SMALL, "encoder.stem": "imagenet", "method.name": "distance"}
    run = byol.pretrain(PICTURES, "small", out=tmp_path / "run", epochs=2, overrides=overrides, say=lambda _: None)
    assert run.finished
    export = export_encoder(run.path, "safetensors", tmp_path / "export")
    card = (export.path / "README.md").read_text()
    assert "pretrained without labels by Plain distance" in card
    assert "32 images, no labels used" in card
    assert byol.load(run.path).description.num_features == byol.load(export.path).description.num_features
