"""DeepMind's published checkpoints (Haiku), converted to this package's names and layout.

Their layout is inferred from the code that wrote them and from third-party readers; see docs/export.md.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol.errors import CheckpointError
from byol.imports.foreign_pickle import Array, read_pickle
from byol.methods.network import Branch
from byol.nets.resnet import BLOCKS

KINDS = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}
HEAD_LAYERS = {"linear": 0, "batch_norm": 1, "linear_1": 3}
STARTS = ("layer1.0.", "layer2.0.", "layer3.0.", "layer4.0.")
STANDARD_CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True)
class DeepMindCheckpoint:
    """The tensors of a checkpoint under this package's names."""

    networks: dict[str, dict[str, Tensor]]
    """Tensors by name for each network in the file, `online` and perhaps `target`. Names start with `encoder.`,
    `projector.`, `predictor.` or `classifier.`."""
    step: int | None

    def encoder(self, network: Branch) -> dict[str, Tensor]:
        """State dict of a network's encoder. Raises CheckpointError if the file lacks the network."""
        if network not in self.networks:
            raise CheckpointError(f"The checkpoint has no {network} network, only {', '.join(self.networks)}.")
        return {n.removeprefix("encoder."): t for n, t in self.networks[network].items() if n.startswith("encoder.")}

    def everything(self) -> dict[str, Tensor]:
        """All tensors under the names of `byol.methods.byol.BYOL`; the target's unused heads start with `target_`."""
        renamed = {}
        for network, tensors in self.networks.items():
            for name, tensor in tensors.items():
                inner = name.startswith(("encoder.", "projector."))
                renamed[f"{network}.{name}" if inner else name if network == "online" else f"target_{name}"] = tensor
        return renamed


def read_checkpoint(path: Path) -> DeepMindCheckpoint:
    """Reads a checkpoint of pretraining or linear evaluation. Raises CheckpointError if the file is not one."""
    content = read_pickle(path)
    state = content.get("experiment_state", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not {"online_params", "backbone_params"} & state.keys():
        raise CheckpointError(
            f"{path} is a pickle, but no checkpoint of DeepMind's BYOL: it has no experiment_state with online_params."
        )
    state.pop("opt_state", None)  # it takes a third of the memory
    try:
        if "backbone_params" in state:
            heads = {name.replace("linear", "classifier"): v for name, v in (state["classif_params"] or {}).items()}
            parts = {"online": ({**state["backbone_params"], **heads}, state["backbone_state"])}
        else:
            parts = {n: (state[f"{n}_params"], state[f"{n}_state"]) for n in ("online", "target")}
        networks = {name: _network(*part) for name, part in parts.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not laid out as DeepMind's checkpoints are ({type(error).__name__}: {error})."
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be imported: {error}") from None
    step = content.get("step")
    return DeepMindCheckpoint(networks, step if isinstance(step, int) else None)


def resnet_settings(encoder: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """(name, settings) for `create_encoder` that fit the tensors. Raises CheckpointError if no ResNet fits."""
    bottleneck = "layer1.0.conv3.weight" in encoder
    blocks = tuple(len({n.split(".")[1] for n in encoder if n.startswith(f"layer{g}.")}) for g in (1, 2, 3, 4))
    depth = next((d for d, counts in BLOCKS.items() if counts == blocks and (d >= 50) == bottleneck), None)
    if depth is None or any(f"{part}conv1.weight" not in encoder for part in ("", *STARTS)):
        kind = "bottleneck" if bottleneck else "basic"
        raise CheckpointError(f"No ResNet has groups of {blocks} {kind} blocks.")
    stem = encoder["conv1.weight"].shape[0]
    channels = tuple(encoder[f"{start}conv1.weight"].shape[0] for start in STARTS)
    settings: dict[str, Any] = {"width": channels[0] / 64, "stem": "imagenet", "conventions": "deepmind"}
    if stem != channels[0] or channels != tuple(round(channels[0] / 64 * c) for c in STANDARD_CHANNELS):
        settings |= {"width": 1.0, "channels": channels, "stem_channels": stem}
    return f"resnet{depth}", {**settings, "zero_init_residual": False}


def _network(params: dict[str, dict[str, Array]], averages: dict[str, dict[str, Array]]) -> dict[str, Tensor]:
    state = {}
    for module, arrays in params.items():
        for name, array in arrays.items():
            state[f"{our_module(module)}.{KINDS[name]}"] = _tensor(array, module, is_weight=name == "w")
    for module, arrays in averages.items():
        owner, _, kind = module.rpartition("/~/")
        kind = {"mean_ema": "mean", "var_ema": "var"}[kind]
        place = our_module(owner)
        state[f"{place}.running_{kind}"] = _tensor(arrays["average"], module)
        state[f"{place}.hidden_{kind}"] = _tensor(arrays["hidden"], module)
        state[f"{place}.num_batches_tracked"] = torch.tensor(int(_value(arrays["counter"], module)))
    return state


def our_module(module: str) -> str:
    """This package's name for a Haiku module: `res_net50/~/block_group_0/~/block_1/~/conv_2` -> `encoder.layer1.1.conv3`."""
    if match := re.fullmatch(r"(projector|predictor)/(?:~/)?(linear|batch_norm|linear_1)", module):
        return f"{match[1]}.{HEAD_LAYERS[match[2]]}"
    if module == "classifier":
        return "classifier"
    layer = module.rpartition("/~/")[2]
    place = re.search(r"block_group_(\d+)/~/block_(\d+)/~/", module)
    inner = re.fullmatch(r"(conv|batchnorm)_(\d+)(?:_1)?", layer)
    outer = re.fullmatch(r"(initial|shortcut)_(conv|batchnorm)(?:_1)?", layer)
    if place and inner:
        leaf = f"{'conv' if inner[1] == 'conv' else 'bn'}{int(inner[2]) + 1}"
    elif place and outer and outer[1] == "shortcut":
        leaf = f"downsample.{0 if outer[2] == 'conv' else 1}"
    elif outer and outer[1] == "initial" and not place:
        return f"encoder.{'conv1' if outer[2] == 'conv' else 'bn1'}"
    else:
        raise CheckpointError(
            f"it holds a layer {ascii(module)[:100]}, which DeepMind's ResNets and heads do not have."
        )
    return f"encoder.layer{int(place[1]) + 1}.{int(place[2])}.{leaf}"


def _tensor(array: Array, module: str, *, is_weight: bool = False) -> Tensor:
    """The array as float32 in torch's layout: HWIO -> OIHW, (in, out) -> (out, in), (1, ..., C) -> (C,)."""
    values = _value(array, module)
    if is_weight and values.ndim not in (2, 4):
        raise CheckpointError(f"{ascii(module)[:100]} has a weight of {values.ndim} dimensions.")
    axes = ((3, 2, 0, 1) if values.ndim == 4 else (1, 0)) if is_weight else None
    values = values.transpose(axes) if axes else values.reshape(-1)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{ascii(module)[:100]} has values that are not finite.")
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def _value(array: Any, module: str) -> np.ndarray:
    if not isinstance(array, Array) or array.value is None:
        raise CheckpointError(f"{ascii(module)[:100]} is no array.")
    return array.value
