"""Every export loads in its own tool, by the text that was printed, and gives the encoder's features."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from torch import nn

import byol
from byol.commands.export import Kind, export_encoder
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import save_encoder
from byol.errors import ByolError, EncoderError, RunError
from byol.evaluate.protocols.options import KnnOptions, ProtocolOptions
from byol.export.backbone import TimmBackbone
from byol.export.onnx_file import NormalizedEncoder
from byol.nets.encoder import create_encoder
from tests.conftest import SMALL, picture

ENCODERS: dict[str, dict[str, Any]] = {
    "resnet": {"name": "resnet18", "stem": "imagenet"},
    "resnet10": {"name": "resnet10", "stem": "imagenet"},
    "small_stem": {"name": "resnet18", "stem": "small"},
    "wide": {"name": "resnet18", "stem": "small", "width": 0.125},
    "bottleneck": {"name": "resnet50", "stem": "imagenet", "width": 0.125},
    "deepmind": {"name": "resnet18", "stem": "imagenet", "width": 0.125, "conventions": "deepmind"},
    "timm_small_stem": {"name": "seresnet18", "stem": "small"},
    "group_norm": {"name": "resnet10", "stem": "imagenet", "norm": "group"},
    "vit": {"name": "test_vit", "stem": "auto"},
    "convnext": {"name": "test_convnext", "stem": "auto"},
}


def saved(folder: Path, which: str, *, channels: int = 3, size: int = 32, antialias: bool = True) -> Path:
    """A folder with an encoder whose weights and averages are random."""
    settings = {"width": 1.0, "conventions": "torch", "zero_init_residual": False, **ENCODERS[which]}
    name = settings.pop("name")
    torch.manual_seed(3)
    module = create_encoder(name, in_channels=channels, image_size=size, **settings)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    mean, std = (0.4, 0.5, 0.6, 0.3, 0.2)[:channels], (0.2, 0.3, 0.25, 0.3, 0.1)[:channels]
    features: Any = module.num_features
    folder.mkdir()
    save_encoder(folder, module, EncoderDescription(name, settings, features, channels, size, mean, std, antialias))
    return folder


def run_text(text: str, folder: Path) -> np.ndarray:
    """The `features` of a printed text, run in `folder`."""
    names: dict[str, Any] = {}
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(text, "printed", "exec"), names)
    assert said.getvalue().strip() == str(names["features"].shape)
    return np.asarray(names["features"])


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def features_of(folder: Path, image: Path, mode: str = "RGB") -> np.ndarray:
    pixels = np.array(Image.open(image).convert(mode))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return byol.load(folder)(torch.from_numpy(pixels)[None]).numpy()


def photo(folder: Path, size: int = 32) -> Path:
    Image.fromarray(picture(5, size, size)).save(folder / "photo.jpg", "JPEG")
    return folder / "photo.jpg"


@pytest.mark.parametrize(
    ("which", "to"),
    [
        *[("resnet", to) for to in ("timm", "torchvision", "safetensors", "onnx", "hub")],
        *[("vit", to) for to in ("timm", "safetensors", "onnx", "hub")],
        *[("resnet10", to) for to in ("timm", "torchvision")],
        ("small_stem", "torchvision"),
        ("convnext", "hub"),
        ("bottleneck", "safetensors"),
        *[("deepmind", to) for to in ("onnx", "hub")],
        *[(which, "hub") for which in ("timm_small_stem", "group_norm")],
    ],
)
def test_export_printed_text_and_load_give_the_features(which: str, to: Kind, tmp_path: Path) -> None:
    run, image = saved(tmp_path / "run", which), photo(tmp_path)
    expected = features_of(run, image)
    assert off(0 * expected + expected.mean(), expected) > 0.01
    export = export_encoder(run, to, tmp_path / "out")
    assert off(run_text(export.snippet, tmp_path), expected) < 1e-5
    assert off(features_of(tmp_path / "out", image), expected) < 1e-5
    card = (tmp_path / "out" / "README.md").read_text()
    in_card = card.split("```python\n")[1].split("```")[0]
    assert str(tmp_path) not in card
    assert "pretrained without labels by BYOL" in card
    assert off(run_text(in_card, tmp_path), expected) < 1e-5
    assert oct((tmp_path / "out").stat().st_mode)[-3:] == "755"


@pytest.mark.parametrize(
    ("which", "to", "says"),
    [
        ("wide", "timm", "all channels scaled, including the stem's (width 0.125)"),
        ("bottleneck", "torchvision", "all channels scaled"),
        ("small_stem", "timm", "--to torchvision works"),
        (
            "timm_small_stem",
            "timm",
            "timm has no seresnet18 with the small stem (3x3, stride 1, no max-pool). --to onnx",
        ),
        ("deepmind", "timm", "pads one row more below"),
        ("deepmind", "torchvision", "--to onnx runs anywhere"),
        ("vit", "torchvision", "only ResNets are the same"),
    ],
)
def test_export_without_equal_network_refuses_and_says_what_works(
    which: str, to: Kind, says: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError) as caught:
        export_encoder(saved(tmp_path / "run", which), to, tmp_path / "out")
    assert says in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize("which", ["timm_small_stem", "group_norm", "deepmind", "wide"])
def test_export_to_hub_without_equal_network_of_timm_says_that_it_is_byols_own_layout(
    which: str, tmp_path: Path
) -> None:
    (note,) = export_encoder(saved(tmp_path / "run", which), "hub", tmp_path / "out").notes
    assert note.endswith("; so the folder has byol's own layout, which byol.load reads but timm does not.")
    assert (tmp_path / "out" / "encoder.safetensors").exists()


@pytest.mark.parametrize(
    ("channels", "to"),
    [
        (1, "timm"),
        (1, "torchvision"),
        (1, "safetensors"),
        (1, "onnx"),
        (1, "hub"),
        (2, "timm"),
        (2, "hub"),
        (2, "safetensors"),
    ],
)
def test_export_other_channels_run_as_printed(channels: int, to: Kind, tmp_path: Path) -> None:
    run, image = saved(tmp_path / "run", "resnet10", channels=channels), photo(tmp_path)
    found = run_text(export_encoder(run, to, tmp_path / "out").snippet, tmp_path)
    assert found.shape == (1, 512)
    if channels == 1:
        assert off(found, features_of(run, image, "L")) < 1e-5


@pytest.mark.parametrize("to", ["timm", "hub"])
def test_export_photo_of_another_size_is_seen_alike(to: Kind, tmp_path: Path) -> None:
    run, image = saved(tmp_path / "run", "resnet10", size=112), photo(tmp_path, 300)
    found = run_text(export_encoder(run, to, tmp_path / "out").snippet, tmp_path)
    assert off(found, features_of(run, image)) < (0.02 if to == "hub" else 0.005)


def test_export_hub_folder_takes_a_new_classifier(tmp_path: Path) -> None:
    for which in ("resnet", "vit"):
        run = saved(tmp_path / which, which)
        export_encoder(run, "hub", tmp_path / f"{which}-hub")
        model = timm.create_model(f"local-dir:{tmp_path}/{which}-hub", pretrained=True, num_classes=7).eval()
        module = byol.load(run).module
        images = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            assert model(images).shape == (2, 7)
            pooled = model.forward_head(model.forward_features(images), pre_logits=True)
            assert off(pooled.numpy(), module(images).numpy()) < 1e-5


def test_export_hub_folder_loads_as_if_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, image = saved(tmp_path / "run", "vit"), photo(tmp_path)
    export = export_encoder(run, "hub", tmp_path / "out")

    def download(repo_id: str, filename: str, **_: Any) -> str:
        assert repo_id == "someone/encoder"
        return str(export.path / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    text = export.snippet.replace(f"local-dir:{export.path}", "hf-hub:someone/encoder")
    assert text != export.snippet
    assert off(run_text(text, tmp_path), features_of(run, image)) < 1e-5


@pytest.mark.parametrize(
    "change",
    [{"settings": {"bogus": 1}}, {"in_channels": "3"}, {"settings": {"channels": 7}}, {"in_channels": -1}, {"name": 7}],
    ids=str,
)
def test_load_of_a_description_that_builds_nothing_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "wide")
    content = json.loads((run / "encoder.json").read_text())
    (run / "encoder.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ByolError, match=r"^The (encoder|weights) in .*\)\.$"):
        byol.load(run)


def test_export_card_tells_the_run(photos: Path, tmp_path: Path) -> None:
    small = {"encoder.name": "resnet10", "encoder.width": 0.125, "views.size": 32, "precision": "fp32", "workers": 0}
    heads = {"heads.projector_hidden": 16, "heads.projector_output": 8, "method.name": "simclr"}
    overrides = {**small, **heads}
    byol.pretrain(photos, epochs=1, batch_size=16, out=tmp_path / "run", overrides=overrides, say=lambda line: None)
    assert "tau" not in (tmp_path / "run" / "metrics.jsonl").read_text()  # SimCLR has no target network
    (result,) = byol.evaluate_encoder(
        tmp_path / "run", str(photos), ["knn"], options=ProtocolOptions(knn=KnnOptions(3, 0.1))
    )
    export = export_encoder(tmp_path / "run", "safetensors", tmp_path / "out", licence="CC-BY-4.0")
    again = export_encoder(export.path, "onnx", tmp_path / "again")
    for folder in (export.path, again.path):
        card = (folder / "README.md").read_text()
        assert ModelCard.load(folder / "README.md").data.license == "cc-by-4.0"
        for told in (
            "pretrained without labels by SimCLR: resnet10",
            "photos, 40 images",
            "1 epochs in steps of 16",
            "| knn, top-1 (k 3, temperature 0.1; ",
            f"| 8 of photos, a held-out fifth | {result.score.value:.1f} [",
        ):
            assert told in card, told
        assert str(tmp_path) not in card and "tau from" not in card
        assert str(tmp_path) not in (folder / "encoder.json").read_text()


def test_export_of_a_run_that_began_with_licensed_weights_keeps_their_licence(photos: Path, tmp_path: Path) -> None:
    start = saved(tmp_path / "start", "wide")
    told = json.loads((start / "encoder.json").read_text())
    told["provenance"] = {"licence": "cc-by-nc-4.0", "licence_source": "of somebody's weights"}
    (start / "encoder.json").write_text(json.dumps(told))
    settings = {**SMALL, "encoder.init": str(start), "encoder.stem": "small", "epochs": 1}
    byol.pretrain(str(photos), out=tmp_path / "run", overrides=settings, say=lambda line: None)

    def licence(source: Path, out: str, **options: str) -> tuple[str, str]:
        card = (export_encoder(source, "safetensors", tmp_path / out, **options).path / "README.md").read_text()
        return ModelCard(card).data.to_dict()["license"], card.partition("## Licence\n\n")[2].splitlines()[0]

    assert licence(tmp_path / "run", "a") == ("cc-by-nc-4.0", "cc-by-nc-4.0 (licence of the initial weights, start)")
    assert licence(start, "b", licence="MIT") == ("mit", "MIT")
    assert licence(start, "c", licence="Mine: all rights")[0] == "mine: all rights"


def test_export_card_has_the_results_of_these_weights_alone(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    byol.pretrain(str(photos), out=run, overrides={**SMALL, "epochs": 1}, say=lambda line: None)
    for network in ("online", "target"):
        byol.evaluate_encoder(run, str(photos), "knn", network=network, budget="smoke")
    record = json.loads((run / "evaluation" / "knn.json").read_text())
    for name, changed in (("old", {"weights": "0" * 16}), ("new", {"protocol": "supervised"})):
        (run / "evaluation" / f"{name}.json").write_text(json.dumps(record | changed))
    card = (export_encoder(run, "safetensors", tmp_path / "out").path / "README.md").read_text()
    assert card.count("| knn, top-1") == 1 and "| supervised" not in card


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        (TimmBackbone("resnet18", {"num_classes": 0, "act_layer": "gelu"}), "gives other features"),
        (TimmBackbone("resnet34", {"num_classes": 0}), "do not fit"),
    ],
)
def test_export_that_is_not_equal_is_never_written(
    backbone: TimmBackbone, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.export.writers.find_backbone", lambda *_: backbone)
    run = saved(tmp_path / "run", "resnet")
    with pytest.raises(EncoderError, match=says):
        export_encoder(run, "timm", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    (note,) = export_encoder(run, "hub", tmp_path / "hub").notes
    assert says in note and "own layout" in note
    assert not (tmp_path / "hub" / "config.json").exists()


def test_export_onnx_that_is_not_equal_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NormalizedEncoder, "normalised", lambda self, images: images)
    with pytest.raises(EncoderError, match="give other features than the encoder"):
        export_encoder(saved(tmp_path / "run", "wide"), "onnx", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_export_module_of_ones_own_goes_to_onnx(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    (tmp_path / "run").mkdir()
    description = EncoderDescription(None, {}, 4, 3, 16, (0.5,) * 3, (0.2,) * 3, False)
    save_encoder(tmp_path / "run", module, description)
    export_encoder(tmp_path / "run", "onnx", tmp_path / "onnx", module=module)
    images = torch.randint(0, 256, (5, 3, 20, 24), dtype=torch.uint8)
    assert off(byol.load(tmp_path / "onnx")(images).numpy(), byol.load(tmp_path / "run", module)(images).numpy()) < 1e-5
    with pytest.raises(EncoderError, match="module of your own"):
        export_encoder(tmp_path / "run", "timm", tmp_path / "timm", module=module)


def test_export_into_something_is_refused(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "wide")
    with pytest.raises(RunError, match="not an empty folder"):
        export_encoder(run, "safetensors", run)
    (tmp_path / "empty").mkdir()
    export_encoder(run, "onnx", tmp_path / "empty")
    with pytest.raises(EncoderError, match="cannot be converted again"):
        export_encoder(tmp_path / "empty", "safetensors", tmp_path / "back")
    (tmp_path / "empty" / "encoder.onnx").write_bytes(b"no onnx")
    with pytest.raises(ByolError, match="not an ONNX file"):
        byol.load(tmp_path / "empty")


def test_export_without_onnx_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ByolError, match=r"pip install onnx onnxscript onnxruntime\."):
        export_encoder(saved(tmp_path / "run", "wide"), "onnx", tmp_path / "out")


def test_export_from_the_command_line_prints_what_runs(tmp_path: Path) -> None:
    run, image = saved(tmp_path / "run", "wide"), photo(tmp_path)
    command = [sys.executable, "-m", "byol", "export", str(run), "--to", "onnx", "--out", "small onnx"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    text = ended.stdout.partition("\n\n")[2]
    assert text.startswith("import numpy")
    assert off(run_text(text, tmp_path), features_of(run, image)) < 1e-5


def test_load_needs_nothing_of_the_training_side(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "wide")
    code = (
        f"import sys, byol, torch; byol.load({str(run)!r})(torch.zeros(1, 3, 40, 40)); "
        "print(sorted({n.split('.')[1] for n in sys.modules if n.startswith('byol.')}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(ended.stdout)) == {"errors", "encoder", "nets", "runtime", "views"}


def test_export_onnx_of_large_networks_keeps_the_weights_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.export.onnx_file.LARGEST_SINGLE_FILE_BYTES", 1000)
    run, image = saved(tmp_path / "run", "wide"), photo(tmp_path)
    export = export_encoder(run, "onnx", tmp_path / "out")
    assert sum(path.name.startswith("encoder.onnx") for path in export.path.iterdir()) == 2
    assert off(run_text(export.snippet, tmp_path), features_of(run, image)) < 1e-5


def test_import_of_a_malicious_file_is_one_sentence_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    command = [sys.executable, "-m", "byol", "import-deepmind", "bad.pkl", "--out", "out"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        "byol: bad.pkl was refused, and nothing of it was run: it refers to os.system, which is no array, number, text "
        "or plain container.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pkl"]
