"""Files of weights as people have them: every tensor of the network is found, or one sentence says what is wrong."""

from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import byol
from byol.errors import CheckpointError

MODEL = "test_resnet"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=5)


def imported(tmp_path: Path, content: object, **options: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    torch.save(content, tmp_path / "weights.pth")
    lines: list[str] = []
    encoder = byol.import_timm(MODEL, tmp_path / "start", weights=tmp_path / "weights.pth", say=lines.append, **options)  # pyright: ignore[reportArgumentType]
    return encoder.module.state_dict(), lines


def prefixed(network: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("kind", ["plain", "data parallel", "whole training", "of a method", "half"])
def test_every_tensor_is_found_however_it_was_saved(tmp_path: Path, network: nn.Module, kind: str) -> None:
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {
        "plain": network.state_dict(),
        "data parallel": prefixed(network, "module."),
        "whole training": {"epoch": 3, "model": network.state_dict(), "optimizer": optimizer},
        "of a method": {
            "state_dict": prefixed(network, "backbone.") | {"projection_head.layers.0.weight": torch.zeros(2, 2)}
        },
        "half": {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()},
    }[kind]
    found, (words,) = imported(tmp_path, content)
    for name, tensor in found.items():
        assert torch.allclose(tensor, network.state_dict()[name], atol=1e-3 if kind == "half" else 0), name
    tensors = [name for name in found if not name.endswith("num_batches_tracked")]
    assert f"all {len(tensors)} tensors of {MODEL} found in weights.pth" in words
    assert ("float16" in words) == (kind == "half")
    assert ("prefix state_dict.backbone." in words) == (kind == "of a method")


def test_several_sets_of_tensors_are_not_guessed_among(tmp_path: Path, network: nn.Module) -> None:
    other = {name: tensor + 1 for name, tensor in prefixed(network, "student.").items()}
    with pytest.raises(CheckpointError, match=r"several sets .* 'teacher\.', 'student\.'\. Choose one with --prefix"):
        imported(tmp_path, prefixed(network, "teacher.") | other)
    found, _ = imported(tmp_path, prefixed(network, "teacher.") | other, prefix="teacher")
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in found.items())


@pytest.mark.parametrize("kind", ["head", "another network", "other channels", "one missing", "Lightning", "empty"])
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, network: nn.Module, kind: str) -> None:
    state = network.state_dict()
    first = next(name for name, tensor in state.items() if tensor.dim() == 4)
    content, words = {
        "head": (
            {n: t for n, t in state.items() if n.startswith("fc.")},
            r"holds no test_resnet: at most 0 of its \d+ tensors are there. It has fc\.weight.*head alone",
        ),
        "another network": (
            timm.create_model("test_efficientnet").state_dict(),
            r"holds no test_resnet: at most \d+ of its \d+ tensors are there.*another network",
        ),
        "other channels": (
            state | {first: state[first][:, :1]},
            rf"{first} is \(\d+, 1, .* in the file and \(\d+, 3, .*of its \d+ tensors fit",
        ),
        "one missing": ({n: t for n, t in state.items() if n != first}, rf"{first} is missing in the file"),
        "Lightning": (
            {"state_dict": state, "hyper_parameters": Namespace(lr=1)},
            r"holds Python objects \(argparse\.Namespace\)",
        ),
        "empty": ({}, "holds no named tensors"),
    }[kind]
    with pytest.raises(CheckpointError, match=words):
        imported(tmp_path, content)
    assert not (tmp_path / "start").exists()


def test_position_embeddings_are_resampled_to_another_image_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", num_classes=5).state_dict(), tmp_path / "vit.pth")
    encoder = byol.import_timm("test_vit", tmp_path / "start", weights=tmp_path / "vit.pth", image_size=96)
    assert encoder.description.image_size == 96
    assert encoder(torch.zeros(1, 3, 96, 96, dtype=torch.uint8)).shape == (1, encoder.num_features)
