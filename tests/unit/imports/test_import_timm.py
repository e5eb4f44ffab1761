"""Weights of timm and torchvision on disk become encoders with the same features; anything else is refused unread."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

import byol
from byol.assembly.subject import open_subject
from byol.cli.main import main
from byol.data.arrays import ArrayImages
from byol.errors import CheckpointError, ConfigError, EncoderError

PICTURES = np.random.default_rng(0).integers(0, 256, (16, 160, 160, 3), dtype=np.uint8)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8))


def test_weights_of_torchvision_give_its_features(tmp_path: Path, resnet18: torch.nn.Module) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "resnet18.pth")
    encoder = byol.import_timm("resnet18", tmp_path / "start", weights=tmp_path / "resnet18.pth", image_size=64)
    resnet18.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = resnet18(encoder.preprocess(IMAGES))
    assert torch.allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert encoder.description.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_of_timm_give_its_features_and_normalisation(tmp_path: Path, wrapped: bool) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=10).eval()
    file = tmp_path / ("last.pth" if wrapped else "model.safetensors")
    if wrapped:
        torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in model.state_dict().items()}}, file)
    else:
        save_file(model.state_dict(), file)
    encoder = byol.import_timm("test_vit", tmp_path / "start", weights=file, image_size=160)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(encoder.preprocess(IMAGES)), pre_logits=True)
    assert torch.allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)
    known = timm.get_pretrained_cfg("test_vit")
    assert known is not None
    assert (encoder.description.mean, encoder.description.std) == (known.mean, known.std) != ((0.485, 0.456, 0.406),)


def test_file_of_another_network_is_refused(tmp_path: Path, resnet18: torch.nn.Module) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match=r"holds no resnet50: at most 100 of its 265 tensors"):
        byol.import_timm("resnet50", tmp_path / "start", weights=tmp_path / "resnet18.pth")
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(CheckpointError, match="is no complete resnet18"):  # which has every layer of a ResNet-18
        byol.import_timm("resnet18", tmp_path / "start", weights=tmp_path / "resnet34.pth")
    assert not (tmp_path / "start").exists()


class Program:
    """What a stranger may have pickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("run_by_the_pickle"),)  # pyright: ignore[reportReturnType]


def test_what_holds_no_weights_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.pth").write_bytes(pickle.dumps(Program()))
    torch.save({"a": Program()}, "program.pt")
    torch.save({"a": 1}, "number.pth")
    Path("torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    Path("text.pth").write_text("no weights")
    for file in ("program.pth", "program.pt", "number.pth", "torn.safetensors", "text.pth", "missing.pth"):
        with pytest.raises(CheckpointError, match=file):
            byol.import_timm("resnet18", "start", weights=file)
    assert not Path("run_by_the_pickle").exists()
    assert not caplog.records  # nothing of timm's own
    assert not Path("start").exists()


def test_unknown_model_and_impossible_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no encoder 'resnet19'"):
        byol.import_timm("resnet19", tmp_path / "start")
    with pytest.raises(ConfigError, match="--image-size must be at least 8"):
        byol.import_timm("resnet18", tmp_path / "start", image_size=4)


def test_weights_that_cannot_be_had_name_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **settings: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        EncoderError, match=r"cannot get the weights of 'resnet18' \(OSError: no such host\).*import-timm resnet18"
    ):
        open_subject("timm:resnet18:pretrained", ArrayImages(PICTURES))


def test_command_says_how_to_go_on_and_the_export_claims_no_training(
    tmp_path: Path, resnet18: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(resnet18.state_dict(), tmp_path / "weights.pth")
    start = str(tmp_path / "start")
    with pytest.raises(SystemExit) as ended:
        main(["import-timm", "resnet18", "--weights", str(tmp_path / "weights.pth"), "--out", start])
    assert ended.value.code == 0
    following = f"byol pretrain --data YOUR_FOLDER --encoder.init {start}\n"
    assert following in capsys.readouterr().out
    export = byol.export_encoder(start, "timm", tmp_path / "export")
    card = (export.path / "README.md").read_text()
    assert "with weights that were not trained here: resnet18" in card
    assert "imported from: weights.pth" in card
    assert "by BYOL" not in card
