"""Checkpoints in DeepMind's layout become our networks, and give the features that DeepMind's code computed."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import byol
from byol.assembly.networks import build_encoder
from byol.config import Config, replaced
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import load_encoder, save_encoder
from byol.errors import CheckpointError, EncoderError
from byol.imports.deepmind_checkpoint import our_module, read_checkpoint, resnet_settings
from byol.imports.import_deepmind import PRETRAINING, import_deepmind
from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD
from tests.conftest import SMALL
from tests.parity.haiku import GOLDEN, golden, relative_error

PLAIN = GOLDEN / "synthetic_checkpoint_plain.pkl"
AS_SAVED = GOLDEN / "synthetic_checkpoint_asaved_dill032_flatmapping.pkl"


def normalized(dtype: torch.dtype) -> Tensor:
    pixels = golden("synthetic_checkpoint_outputs")["images_u8"].astype(np.float32) / np.float32(255)
    mean, std = (torch.tensor(values, dtype=dtype).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels).to(dtype).permute(0, 3, 1, 2) - mean) / std


def head(tensors: dict[str, Tensor], prefix: str) -> nn.Module:
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outputs, hidden = own["3.weight"].shape
    made = mlp_head(own["0.weight"].shape[1], hidden, outputs, "deepmind")
    made.load_state_dict(own)
    return made.double().eval()


@pytest.mark.parametrize("network", ["online", "target"])
def test_import_plain_all_outputs_agree(network: Any, tmp_path: Path) -> None:
    z = golden("synthetic_checkpoint_outputs")
    encoder = import_deepmind(PLAIN, tmp_path / "out", network=network, image_size=64)
    pixels = torch.from_numpy(z["images_u8"]).permute(0, 3, 1, 2)
    assert encoder.num_features == 256
    assert relative_error(encoder(pixels), torch.from_numpy(z[f"plain.{network}.features|f32"])) < 1e-5
    tensors = load_file(tmp_path / "out" / PRETRAINING)
    inside, outside = (f"{network}.", "") if network == "online" else ("target.", "target_")
    classifier = [tensors[f"{outside}classifier.{kind}"].double() for kind in ("weight", "bias")]
    with torch.no_grad():
        features = encoder.module.double()(normalized(torch.float64))
        projection = head(tensors, f"{inside}projector.")(features)
        prediction = head(tensors, f"{outside}predictor.")(projection)
        found = {
            "features": features,
            "projection": projection,
            "prediction": prediction,
            "logits": nn.functional.linear(features, *classifier),
        }
    for name, values in found.items():
        assert relative_error(values, torch.from_numpy(z[f"plain.{network}.{name}|f64"])) < 1e-10, name


def test_import_as_saved_by_dill_features_agree(tmp_path: Path) -> None:
    z = golden("synthetic_checkpoint_outputs")
    module = import_deepmind(AS_SAVED, tmp_path / "out", image_size=64).module.double()
    with torch.no_grad():
        features = module(normalized(torch.float64))
    assert relative_error(features, torch.from_numpy(z["asaved.online.features|f64"])) < 1e-10
    assert "cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_import_keeps_what_training_goes_on_with(tmp_path: Path) -> None:
    import_deepmind(PLAIN, tmp_path / "out", image_size=64)
    tensors = load_file(tmp_path / "out" / PRETRAINING)
    assert {name.split(".")[0] for name in tensors} == {
        "online", "target", "predictor", "classifier", "target_predictor", "target_classifier",
    }  # fmt: skip
    place = "online.encoder.layer4.2.bn3"
    assert int(tensors[f"{place}.num_batches_tracked"]) == 20
    average, hidden = tensors[f"{place}.running_mean"], tensors[f"{place}.hidden_mean"]
    assert relative_error(average, hidden) > 0.05


@pytest.mark.parametrize("depth", [18, 50])
def test_our_module_names_every_layer_of_haiku(depth: int) -> None:
    listed = json.loads((GOLDEN / f"names_resnet{depth}.json").read_text())["tensors"]
    seen = set()
    for tensor in listed:
        owner, _, kind = tensor["module"].rpartition("/~/")
        module = owner if kind.endswith("_ema") else tensor["module"]
        name = our_module(module).removeprefix("encoder.")
        assert tensor["torch"].rpartition(".")[0] == name
        assert our_module(module.replace("initial_conv", "initial_conv_1")) == f"encoder.{name}"
        seen.add(name)
    with torch.device("meta"):
        net = create_encoder(f"resnet{depth}", conventions="deepmind")
    assert seen == {name.rpartition(".")[0] for name in net.state_dict()}


@pytest.mark.parametrize(
    ("name", "width"), [("resnet50", 1.0), ("resnet200", 2.0), ("resnet18", 1.0), ("resnet50", 4.0)]
)
def test_resnet_settings_are_found_from_the_shapes(name: str, width: float) -> None:
    with torch.device("meta"):
        net = create_encoder(name, width=width, conventions="deepmind")
    found, settings = resnet_settings(net.state_dict())
    assert (found, settings["width"], settings["conventions"]) == (name, width, "deepmind")
    assert "channels" not in settings


def state(**changes: Any) -> dict[str, Any]:
    """The content of the plain checkpoint, here where the file is our own."""
    content = pickle.loads(PLAIN.read_bytes())
    content["experiment_state"] |= changes
    return content


def written(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_import_linear_evaluation_checkpoint_has_its_classifier(tmp_path: Path) -> None:
    plain = state()["experiment_state"]
    encoder_only = {n: v for n, v in plain["online_params"].items() if n.startswith("res_net50")}
    averages = {n: v for n, v in plain["online_state"].items() if n.startswith("res_net50")}
    classifier = {"linear": plain["online_params"]["classifier"]}
    content = {
        "backbone_params": encoder_only, "backbone_state": averages, "backbone_opt_state": None,
        "classif_params": classifier, "classif_opt_state": (),
    }  # fmt: skip
    file = written(tmp_path / "eval.pkl", {"experiment_state": content, "step": np.int64(7), "rng": None})
    import_deepmind(file, tmp_path / "out", image_size=64)
    import_deepmind(PLAIN, tmp_path / "plain", image_size=64)
    found, expected = (load_encoder(tmp_path / name).module.state_dict() for name in ("out", "plain"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    weight = load_file(tmp_path / "out" / PRETRAINING)["classifier.weight"]
    assert torch.equal(weight, torch.from_numpy(classifier["linear"]["w"].T.copy()))
    with pytest.raises(CheckpointError, match="has no target network, only online"):
        import_deepmind(file, tmp_path / "target", network="target")


def without(params: dict, name: str) -> dict:
    return {module: arrays for module, arrays in params.items() if module != name}


LAYER = "res_net50/~/block_group_0/~/block_0/~/conv_0"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {"online_params": without(s["online_params"], LAYER)}, "No ResNet has groups"),
        (lambda s: {"online_params": without(s["online_params"], LAYER.replace("block_0", "block_1"))}, "is missing in the file"),
        (lambda s: {"online_params": {**s["online_params"], "extra/layer": {"w": np.ones((2, 2))}}}, "'extra/layer'"),
        (lambda s: {"online_params": {**s["online_params"], LAYER: {"w": np.full((1, 1, 64, 8), np.nan)}}}, "not finite"),
        (lambda s: {"online_params": {**s["online_params"], LAYER: {"w": np.ones((1, 1, 1, 9))}}}, "no complete resnet50"),
        (lambda s: {"online_params": {**s["online_params"], LAYER: {"w": "text"}}}, "no array"),
        (lambda s: {"online_params": {**s["online_params"], LAYER: {"w": np.ones(3)}}}, "1 dimensions"),
        (lambda s: {"online_params": {}}, "No ResNet has groups"),
        (lambda s: {"online_params": []}, "not laid out"),
        (lambda s: {"target_params": None}, "not laid out"),
    ],
)  # fmt: skip
def test_import_incomplete_checkpoint_is_refused_in_a_sentence(change: Any, says: str, tmp_path: Path) -> None:
    content = state()
    content["experiment_state"] |= change(content["experiment_state"])
    with pytest.raises(CheckpointError) as caught:
        import_deepmind(written(tmp_path / "bad.pkl", content), tmp_path / "out")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_import_any_other_pickle_is_refused(tmp_path: Path) -> None:
    for content in ([], {"step": 3}, {"experiment_state": 3}, "text", np.ones(3)):
        with pytest.raises(CheckpointError, match="no checkpoint of DeepMind's BYOL"):
            read_checkpoint(written(tmp_path / "other.pkl", content))


def test_training_starts_from_an_import_and_resumes_without_it(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = create_encoder("resnet18", width=0.125, conventions="deepmind", stem="small")
    settings = {"width": 0.125, "stem": "small", "conventions": "deepmind", "zero_init_residual": False}
    (tmp_path / "start").mkdir()
    save_encoder(
        tmp_path / "start", net, EncoderDescription("resnet18", settings, 64, 3, 32, (0.5,) * 3, (0.2,) * 3, False)
    )
    overrides = {**SMALL, "encoder.init": str(tmp_path / "start")}
    config = replaced(Config(), {**overrides, "encoder.conventions": "deepmind"})
    assert all(torch.equal(a, b) for a, b in zip(build_encoder(config, 3).parameters(), net.parameters(), strict=True))
    with pytest.raises(EncoderError, match=r"It has name resnet18, width 0.125, stem small, conventions deepmind"):
        build_encoder(replaced(config, {"encoder.conventions": "torch"}), 3)
    run = byol.pretrain(photos, epochs=1, out=tmp_path / "run", overrides=overrides, say=lambda _: None)
    moved = load_encoder(run.path).module
    assert not torch.equal(next(iter(moved.parameters())), next(iter(net.parameters())))
    shutil.rmtree(tmp_path / "start")
    assert byol.resume(run.path, say=lambda _: None).finished
