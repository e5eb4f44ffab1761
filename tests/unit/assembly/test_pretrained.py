"""Encoders with pretrained weights."""

from pathlib import Path

import pytest
import timm

import byol
from byol.assembly.subject import open_subject
from byol.data.image_folder import ImageFolder
from byol.runtime.run_directory import RunDirectory
from tests.conftest import SMALL


def test_pretrained_weights_keep_the_stem_that_they_come_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On small images, too, where `auto` is another stem for new weights; and the record tells which it was."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: create(name, pretrained=False, **rest))
    source = ImageFolder(photos)
    subject = open_subject("timm:resnet18:pretrained", source)
    assert subject.encoder.module.conv1.kernel_size == (7, 7)
    assert subject.untrained(0).conv1.kernel_size == (7, 7)
    assert open_subject("timm:resnet18", source).encoder.module.conv1.kernel_size == (3, 3)

    settings = {**SMALL, "encoder.width": 1.0, "encoder.pretrained": True}
    run = byol.pretrain(photos, epochs=0.4, out=tmp_path / "run", overrides=settings, say=lambda _: None)
    assert RunDirectory.open(run.path).record()["config"]["encoder"]["stem"] == "imagenet"
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked for weights again"))
    assert run.encoder().module.conv1.kernel_size == (7, 7)
    assert byol.resume(run.path, say=lambda _: None).finished

    began = {**SMALL, "encoder.width": 1.0, "encoder.init": str(run.path)}
    second = byol.pretrain(photos, epochs=0.4, out=tmp_path / "second", overrides=began, say=lambda _: None)
    assert second.encoder().module.conv1.kernel_size == (7, 7)
