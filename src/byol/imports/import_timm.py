"""Import of a timm model's pretrained weights, from a file or downloaded by timm, into an encoder folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import TRAINED_ELSEWHERE, load_encoder, save_encoder
from byol.errors import ConfigError
from byol.imports.weights_file import match, read_tensors
from byol.nets.encoder import create_encoder, find_num_features, pretrained_normalization
from byol.runtime.files import new_folder
from byol.runtime.paths import user_path
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD

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


def import_timm(
    model: str,
    out: str | Path,
    *,
    weights: str | Path = "",
    prefix: str = "",
    image_size: int = 224,
    say: Callable[[str], None] = lambda line: None,
) -> Encoder:
    """Writes the encoder to the folder `out`, for `byol adapt`, `encoder.init`, `byol embed` and evaluations, and returns it.

    `weights`: a file of timm's or torchvision's tensors for `model` (.safetensors, .pth, with or without classifier, or a
    training checkpoint that holds them), read without unpickling anything; empty: timm downloads them. `prefix`: what
    stands before the network's names in the file, if several fit. `say` receives a line about the tensors. Raises
    CheckpointError if the file does not fit the network, EncoderError if timm has no such model.
    """
    if image_size < 8:
        raise ConfigError(f"--image-size must be at least 8; found {image_size}.")
    module = create_encoder(model, image_size=image_size, pretrained=not weights, **SETTINGS)
    if weights:
        tensors = read_tensors(user_path(weights))
        matched = match(model, module, tensors, weights, prefix=prefix, heads=_classifier(model))
        module.load_state_dict(matched.tensors)
        say(matched.words)
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


def _classifier(model: str) -> tuple[str, ...]:
    """Names of the layers that form the classifier of `model` in timm."""
    known = timm.get_pretrained_cfg(model)
    names = known.classifier if known is not None and known.classifier else ()
    return (names,) if isinstance(names, str) else tuple(names)
