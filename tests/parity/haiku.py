"""From Haiku's names and layouts to ours, and the golden files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from byol.nets.norm import batch_norm_2d
from byol.nets.resnet import BasicBlock, ResNet, convolution

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of a golden file."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def our_name(module: str, name: str) -> str:
    """`projector/linear`, `w` -> `projector.0.weight`, and so on, as within a `BYOL`'s online part and heads."""
    kinds = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}
    parts = module.split("/")
    if parts[0] in ("projector", "predictor"):
        return f"{parts[0]}.{ {'linear': 0, 'batch_norm': 1, 'linear_1': 3}[parts[1]] }.{kinds[name]}"
    if parts[0] == "classifier":
        return f"classifier.{kinds[name]}"
    place = ""
    for part in parts[1:]:
        if part.startswith("block_group_"):
            place += f"layer{int(part[12:]) + 1}."
        elif part.startswith("block_"):
            place += f"{part[6:]}."
    leaf = parts[-1]
    fixed = {
        "initial_conv": "conv1", "initial_batchnorm": "bn1",
        "shortcut_conv": "downsample.0", "shortcut_batchnorm": "downsample.1",
    }  # fmt: skip
    ours = fixed.get(leaf) or f"{'bn' if leaf.startswith('batchnorm') else 'conv'}{int(leaf[-1]) + 1}"
    return f"encoder.{place}{ours}.{kinds[name]}"


def our_layout(array: np.ndarray, name: str) -> Tensor:
    """HWIO -> OIHW, (in, out) -> (out, in), (1, ..., C) -> (C,)."""
    tensor = torch.from_numpy(np.asarray(array))
    if name in ("scale", "offset", "b", "average", "hidden"):
        return tensor.reshape(-1)
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.T


def tensors(arrays: dict[str, np.ndarray], what: str) -> dict[str, Tensor]:
    """All tensors under `what|...`, by our names and in our layout."""
    found = {}
    for key, array in arrays.items():
        prefix, _, rest = key.partition("|")
        if prefix == what:
            module, name = rest.rsplit("|", 1)
            found[our_name(module, name)] = our_layout(array, name)
    return found


def statistics(arrays: dict[str, np.ndarray], what: str) -> dict[str, Tensor]:
    """Batch-norm averages under `what|...`: running_* and hidden_* by our names."""
    found = {}
    for key, array in arrays.items():
        prefix, _, rest = key.partition("|")
        if prefix == what and not rest.endswith("counter"):
            module, name = rest.rsplit("|", 1)
            owner, kind = (
                module.split("/~/mean_ema")[0].split("/~/var_ema")[0],
                "mean" if "mean_ema" in module else "var",
            )
            place = our_name(owner, "scale").removesuffix("weight")
            found[f"{place}{'running' if name == 'average' else 'hidden'}_{kind}"] = our_layout(array, name)
    return found


def tiny_resnet() -> ResNet:
    """DeepMind's TinyResNet: a stem of 64, then one basic block of 8 channels in each group."""
    net = ResNet(18, conventions="deepmind")
    net.conv1, net.bn1 = convolution(3, 64, 7, 2, "deepmind"), batch_norm_2d(64, "deepmind")
    for group in range(4):
        block = BasicBlock(64 if group == 0 else 8, 8, 1 if group == 0 else 2, True, "deepmind")
        setattr(net, f"layer{group + 1}", nn.Sequential(block))
    net.num_features = 8
    return net


def relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected| in L2 norm."""
    found, expected = found.detach().double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))
