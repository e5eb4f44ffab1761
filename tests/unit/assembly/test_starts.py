"""Trainings that start from an encoder: its network, its normalisation and what keeps its weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import byol
from byol.assembly.settings import Asked, resolve
from byol.assembly.subject import open_subject
from byol.config import Config, from_dict, replaced
from byol.data.arrays import ArrayImages
from byol.data.profile import DataProfile
from byol.errors import EncoderError, RunError
from byol.recipes import recipe
from byol.recipes.recipe import Recipe

PICTURES = np.random.default_rng(0).integers(0, 256, (16, 160, 160, 3), dtype=np.uint8)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8))


def fitted(config: Config, recipe: Recipe, *given: str) -> tuple[Config, list[str]]:
    """The settings and warnings of a training on 10,000 images of 224 px."""
    profile = DataProfile(3, 224, (0.5,) * 3, (0.2,) * 3)
    resolved = resolve(Asked(config, recipe, frozenset(given)), profile, 10_000)
    return resolved.config, resolved.cautions


def test_training_starts_from_them_with_their_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    started = byol.import_timm("test_vit", tmp_path / "start", weights=file, image_size=160)
    run = byol.pretrain(
        PICTURES,
        epochs=1,
        batch_size=16,
        out=tmp_path / "run",
        overrides={
            "encoder.name": "test_vit",
            "encoder.init": str(tmp_path / "start"),
            "views.size": 160,
            "optimizer.base_learning_rate": 1e-30,  # no weight moves
            "heads.projector_hidden": 8,
            "heads.predictor_hidden": 8,
        },
        say=lambda line: None,
    )
    trained = byol.load(run.path)
    assert torch.equal(trained(IMAGES), started(IMAGES))
    assert trained.description.mean == started.description.mean
    notes = json.loads((run.path / "run.json").read_text())["notes"]
    assert any("as for the encoder in" in note for note in notes)
    shutil.rmtree(tmp_path / "start")  # the run does not need it any more
    target = open_subject(str(run.path), ArrayImages(PICTURES), network="target").encoder
    assert torch.equal(target(IMAGES), started(IMAGES))


def test_training_with_frozen_averages_leaves_the_encoder_where_it_started(
    tmp_path: Path, resnet18: torch.nn.Module
) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "weights.pth")
    started = byol.import_timm("resnet18", tmp_path / "start", weights=tmp_path / "weights.pth", image_size=64)
    settings = {
        "encoder.name": "resnet18",
        "encoder.stem": "imagenet",
        "encoder.init": str(tmp_path / "start"),
        "views.size": 64,
        "views.antialias": True,
        "optimizer.base_learning_rate": 1e-30,
        "heads.projector_hidden": 8,
        "heads.predictor_hidden": 8,
        "precision": "fp32",
    }
    pictures = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)

    def features(name: str, **named: str) -> torch.Tensor:
        own = {**settings, **named}
        run = byol.pretrain(pictures, epochs=1, batch_size=16, out=tmp_path / name, overrides=own, say=said.append)
        return byol.load(run.path)(IMAGES)

    said: list[str] = []
    assert torch.allclose(features("as it comes"), started(IMAGES), rtol=1e-4, atol=1e-4)
    small = recipe("small")
    again = replaced(small.config, {"encoder.init": str(tmp_path / "as it comes")})
    assert fitted(again, small)[0].encoder.norm == "frozen"
    assert any(
        line.startswith("  to preserve the pretrained weights (") and "norm: batch -> frozen" in line for line in said
    )
    assert not torch.allclose(features("moving", **{"encoder.norm": "batch"}), started(IMAGES), rtol=1e-2, atol=1e-2)


def test_settings_for_weights_trained_elsewhere_spare_what_is_named_and_what_was_trained_here(
    tmp_path: Path, resnet18: torch.nn.Module
) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "weights.pth")
    byol.import_timm("resnet18", tmp_path / "start", weights=tmp_path / "weights.pth")
    small = recipe("small")
    config = replaced(small.config, {"encoder.init": str(tmp_path / "start")})
    kept = (config.encoder.norm, config.optimizer.encoder_rate, config.batch_size)

    def kept_by(config: Config, *given: str) -> tuple[str, float, int]:
        found = fitted(config, small, *given)[0]
        return found.encoder.norm, found.optimizer.encoder_rate, found.batch_size

    assert kept == ("batch", 1, 256)
    assert kept_by(config) == kept_by(replaced(small.config, {"encoder.pretrained": True})) == ("frozen", 0.03, 128)
    assert kept_by(config, "encoder.norm", "batch_size") == ("batch", 0.03, 256)
    assert kept_by(config, "optimizer.encoder_rate") == ("frozen", 1, 128)
    assert kept_by(small.config) == kept
    other = replaced(recipe("tonight").config, {"encoder.init": str(tmp_path / "start")})
    assert fitted(other, recipe("tonight"))[0].encoder.norm == "batch"
    description = tmp_path / "start" / "encoder.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"provenance": {}}))
    resolved, notes = fitted(config, small)
    assert (resolved.encoder.norm, resolved.optimizer.encoder_rate, resolved.batch_size) == kept
    assert not any("to preserve the pretrained weights" in note for note in notes)


def test_a_training_takes_the_network_of_the_encoder_that_it_starts_from(tmp_path: Path) -> None:
    narrow = {"encoder.name": "resnet10", "encoder.width": 0.25, "encoder.stem": "small", "encoder.norm": "group"}
    tiny = {**narrow, "views.size": 16, "heads.projector_hidden": 8, "heads.predictor_hidden": 8, "batch_size": 16}
    pictures = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    byol.pretrain(pictures, epochs=1, out=tmp_path / "first", overrides=tiny, say=lambda _: None)
    start = {"encoder.init": str(tmp_path / "first"), "views.size": 16, "batch_size": 16}
    said: list[str] = []
    again = byol.pretrain(pictures, epochs=1, out=tmp_path / "again", overrides=start, say=said.append)
    found = from_dict(Config, json.loads((again.path / "run.json").read_text())["config"]).encoder
    assert (found.name, found.width, found.stem, found.norm) == ("resnet10", 0.25, "small", "group")
    assert any(
        line.startswith(f"  architecture of the encoder in {tmp_path / 'first'}: encoder.name: resnet18 -> resnet10")
        for line in said
    )
    with pytest.raises(EncoderError, match=r"has another shape than the requested one.*set --encoder\.name"):
        byol.pretrain(
            pictures, out=tmp_path / "other", overrides={**start, "encoder.name": "resnet18"}, say=said.append
        )


def test_a_file_of_weights_is_no_encoder_to_start_from(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"something")
    config = replaced(recipe("small").config, {"encoder.init": str(tmp_path / "weights.pth")})
    with pytest.raises(RunError, match=r"weights\.pth is a file, not the folder of an encoder.*byol import-timm NAME"):
        fitted(config, recipe("small"))
