"""Import of a timm model's pretrained weights, from a file or downloaded by timm, into an encoder folder."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import TRAINED_ELSEWHERE, load_encoder, require_whole, save_encoder
from byol.errors import CheckpointError, ConfigError
from byol.nets.encoder import create_encoder, find_num_features, pretrained_normalization
from byol.runtime.files import new_folder
from byol.runtime.paths import user_path
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD

COUNTERS = "num_batches_tracked"
SETTINGS: dict[str, Any] = {
    "width": 1.0,
    "stem": "imagenet",
    "conventions": "torch",
    "zero_init_residual": False,
    "norm": "batch",
    "norm_groups": 32,
    "weight_standardization": False,
}
"""Arguments of `create_encoder` that build the network exactly as timm does; each is also a setting `encoder.NAME`."""


def import_timm(model: str, out: str | Path, *, weights: str | Path = "", image_size: int = 224) -> Encoder:
    """Writes the encoder to the folder `out`, for `encoder.init`, `byol embed` and evaluations, and returns it.

    `weights`: a file of timm's or torchvision's tensors for `model` (.safetensors, .pth, with or without classifier),
    read without unpickling anything; empty: timm downloads them. Raises CheckpointError if the file does not fit the
    network, EncoderError if timm has no such model.
    """
    if image_size < 8:
        raise ConfigError(f"--image-size must be at least 8; found {image_size}.")
    module = create_encoder(model, image_size=image_size, pretrained=not weights, **SETTINGS)
    if weights:
        tensors = _read(user_path(weights))
        for name in _classifier(model):
            for part in ("weight", "bias"):
                tensors.pop(f"{name}.{part}", None)
        missing = {n: t for n, t in module.state_dict().items() if n.endswith(COUNTERS) and n not in tensors}
        require_whole(model, module, tensors | missing, weights)
        module.load_state_dict(tensors | missing)
    mean, std = pretrained_normalization(model) or (IMAGENET_MEAN, IMAGENET_STD)
    source = Path(weights).name if weights else "timm's own weights of that name"
    description = EncoderDescription(
        name=model,
        settings=dict(SETTINGS),
        num_features=find_num_features(module, 3, image_size),
        in_channels=3,
        image_size=image_size,
        mean=mean,
        std=std,
        antialias=True,
        provenance={"how": TRAINED_ELSEWHERE, "training": {"imported from": source}},
    )
    with new_folder(user_path(out)) as writing:
        save_encoder(writing, module, description)
    return load_encoder(out)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"There is no file {file}. Name the weights' file, or leave --weights out.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol of a foreign file
            tensors = load_state_dict(str(file), weights_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        cause = type(error).__name__ if isinstance(error, KeyError) else (str(error).splitlines() or ["?"])[0]
        raise CheckpointError(f"{file} is no file of weights ({cause}). It takes .safetensors, .pth or .pt.") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{file} holds something other than named tensors.")
    return tensors


def _classifier(model: str) -> tuple[str, ...]:
    """Names of the layers that form the classifier of `model` in timm."""
    known = timm.get_pretrained_cfg(model)
    names = known.classifier if known is not None and known.classifier else ()
    return (names,) if isinstance(names, str) else tuple(names)
