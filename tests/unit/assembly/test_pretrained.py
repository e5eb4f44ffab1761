"""Encoders with pretrained weights."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import byol
from byol.assembly.subject import open_subject
from byol.data.image_folder import ImageFolder
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import read_description, save_encoder
from byol.errors import EncoderError
from byol.nets.encoder import create_encoder, with_input_channels
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


PICTURES = np.random.default_rng(0).integers(0, 256, (16, 40, 40, 13), dtype=np.uint8)


@pytest.mark.parametrize("name", ["resnet18", "test_vit"])
@pytest.mark.parametrize("channels", [1, 6, 12])
def test_grey_in_every_band_has_the_features_of_grey_rgb(name: str, channels: int) -> None:
    """The rule promises it for one band and for multiples of three."""
    rgb, other = (create_encoder(name, in_channels=count, image_size=160, stem="imagenet") for count in (3, channels))
    other.load_state_dict(with_input_channels(other, rgb.state_dict()))
    grey = torch.rand(2, 1, 160, 160)
    with torch.no_grad():
        wanted, found = (net.eval()(grey.repeat(1, count, 1, 1)) for net, count in ((rgb, 3), (other, channels)))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_bands_have_the_weights_that_timm_gives_them() -> None:
    rgb, other = (create_encoder("resnet18", in_channels=count) for count in (3, 13))
    found = with_input_channels(other, rgb.state_dict())["conv1.weight"]
    weights = rgb.state_dict()["conv1.weight"]
    for band in range(13):
        torch.testing.assert_close(found[:, band], weights[:, band % 3] * 3 / 13)


@pytest.mark.parametrize(
    ("channels", "how"), [(1, "for 1 channel those of the first layer are summed"), (13, "scaled by 3/13")]
)
def test_start_for_rgb_takes_other_channels_by_a_rule_that_is_said(
    channels: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timm's weights in training, an imported encoder as `encoder.init`, and an adaptation of both."""
    pictures, said = PICTURES[..., :channels], []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: create(name, pretrained=False, **rest))
    byol.import_timm("test_vit", tmp_path / "rgb", image_size=160)
    settings = {n: v for n, v in SMALL.items() if not n.startswith("encoder.")} | {
        "views.size": 160,
        "encoder.name": "test_vit",
    }
    for start in ({"encoder.pretrained": True}, {"encoder.init": str(tmp_path / "rgb")}):
        out = tmp_path / next(iter(start)).partition(".")[2]
        run = byol.pretrain(pictures, epochs=1, out=out, overrides={**settings, **start}, say=said.append)
        assert sum(how in line for line in said) == 1
        assert any(how in note for note in RunDirectory.open(run.path).record()["notes"])
        assert run.encoder().description.in_channels == channels
        said.clear()
    adapted = byol.adapt(
        tmp_path / "rgb", pictures, out=tmp_path / "adapted", overrides=settings, epochs=1, say=said.append
    )
    assert sum(how in line for line in said) == 1
    start = read_description(tmp_path / "adapted" / "start")
    assert start.in_channels == channels and how in start.provenance["training"]["channels"]
    assert adapted.encoder().description.in_channels == channels


def test_start_of_other_channels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    save_encoder(
        tmp_path / "two",
        create_encoder("resnet18", in_channels=2, image_size=32),
        EncoderDescription("resnet18", {}, 512, 2, 32, (0.5,) * 2, (0.2,) * 2, True),
    )
    with pytest.raises(EncoderError, match="takes images of 2 channels; these have 13"):
        byol.adapt(tmp_path / "two", PICTURES, out=tmp_path / "out", epochs=1, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_evaluation_of_timm_says_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: create(name, pretrained=False, **rest))
    np.save(tmp_path / "a.npy", PICTURES)
    said: list[str] = []
    byol.embed("timm:resnet18:pretrained", str(tmp_path / "a.npy"), tmp_path / "v.npz", say=said.append)
    assert sum("timm's weights of resnet18 are for RGB: for 13 channels" in line for line in said) == 1
