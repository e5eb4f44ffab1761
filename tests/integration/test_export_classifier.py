"""Exports of a classifier: timm and onnxruntime give its probabilities, and the names of the classes go along."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import byol
from byol.encoder.classifier import Classifier, ClassifierDescription, save_classifier
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.errors import EncoderError, RunError
from byol.nets.encoder import create_encoder
from tests.conftest import encoded, picture

CLASSES = ("cat", "dog", "two words")
FIT = {
    "finetuned": False,
    "held_out": {"accuracy": {"value": 90.0, "low": 80.0, "high": 95.0}},
    "data": {"num_images": 60},
    "most_wrong": 5.0,
}


def classifier(folder: Path, name: str = "resnet10", *, several: bool = False, **settings: object) -> Path:
    """The folder of a classifier with random weights."""
    torch.manual_seed(0)
    settings = {"stem": "imagenet", **settings}
    module = create_encoder(name, in_channels=3, image_size=32, **settings)  # pyright: ignore[reportArgumentType]
    module.eval()
    d = EncoderDescription(name, settings, module.num_features, 3, 32, (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), True)  # pyright: ignore[reportArgumentType]
    about = ClassifierDescription(CLASSES, several, 0.6, Encoder(module, d).fingerprint(), FIT, {"licence": "mit"})
    folder.mkdir()
    weight = torch.randn(3, d.num_features) / 5
    save_classifier(folder, Classifier(module, d, weight, torch.randn(3), about))
    return folder


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A picture in the file photo.jpg of the working folder, of the encoder's size."""
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(encoded(picture(1, 32, 32), "PNG"))
    return torch.from_numpy(picture(1, 32, 32)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("to", ["timm", "hub", "onnx", "safetensors"])
@pytest.mark.parametrize("several", [False, True])
def test_exported_classifier_gives_the_class_and_its_probability(
    photo: torch.Tensor, tmp_path: Path, to: str, several: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(tmp_path / "sorter", several=several)
    export = byol.export_encoder(folder, to, tmp_path / "out")  # pyright: ignore[reportArgumentType]
    found = byol.load_classifier(folder)(photo)[0]
    exec(export.snippet, {})
    printed = capsys.readouterr().out
    if to == "safetensors":
        assert byol.load_classifier(export.path).named(photo)[0] in printed
    else:
        assert CLASSES[int(found.argmax())] in printed
        assert float(printed.split()[-1]) == pytest.approx(float(found.max()), abs=1e-3)
    record = json.loads((export.path / "classifier.json").read_text())
    assert record["classes"] == list(CLASSES) and record["threshold"] == 0.6
    card = (export.path / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card and "license: mit" in card and "two words" in card
    assert "No classifier" not in card
    assert "relative difference" in export.checked or "to the last bit" in export.checked


def test_onnx_holds_logits_probabilities_and_names(tmp_path: Path) -> None:
    import onnxruntime

    folder = classifier(tmp_path / "sorter")
    byol.export_encoder(folder, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "classifier.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    images = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    logits, found = session.run(["logits", "probabilities"], {"images": images})
    loaded = byol.load_classifier(folder)
    assert np.allclose(found, loaded.encode_views(torch.from_numpy(images)), atol=1e-4)
    assert np.allclose(torch.from_numpy(logits).softmax(dim=1), found, atol=1e-5)


def test_hub_folder_tells_timm_the_names(tmp_path: Path) -> None:
    import timm

    byol.export_encoder(classifier(tmp_path / "sorter"), "hub", tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert model.num_classes == 3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["label_names"] == list(CLASSES)


def test_backbone_that_timm_lacks_is_refused_and_goes_to_onnx(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "sorter", width=0.125)
    for to in ("timm", "hub"):
        with pytest.raises(EncoderError, match="all channels scaled"):
            byol.export_encoder(folder, to, tmp_path / "out")  # pyright: ignore[reportArgumentType]
    with pytest.raises(EncoderError, match="without a head"):
        byol.export_encoder(folder, "torchvision", tmp_path / "out")
    byol.export_encoder(folder, "onnx", tmp_path / "out")
    with pytest.raises(RunError, match="export for other tools"):
        byol.load_classifier(tmp_path / "out")


def test_damaged_folder_is_one_sentence(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "sorter", width=0.125)
    about = byol.load_classifier(folder).about
    for content, words in (
        ("{", "cannot be read"),
        (json.dumps(dataclasses.asdict(about) | {"classes": [1]}), "classes are names"),
        (json.dumps(dataclasses.asdict(about) | {"classes": ["a", "b"]}), "for 2 classes"),
    ):
        (folder / "classifier.json").write_text(content)
        with pytest.raises(RunError, match=words):
            byol.load_classifier(folder)
