"""Writers, one per kind of export; each loads the written files and compares their features with the encoder's."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import (
    ONNX_WEIGHTS,
    PLAIN_WEIGHTS,
    load_encoder,
    save_encoder,
    write_description,
)
from byol.errors import EncoderError
from byol.export import snippet
from byol.export.backbone import COUNTER, TOLERANCE, TimmBackbone, find_backbone, load_checked, relative_difference
from byol.export.detectron2 import (
    DETECTRON2_CONFIG,
    DETECTRON2_WEIGHTS,
    detectron2_backbone,
    detectron2_config,
    detectron2_name,
)
from byol.nets.maps import choose_stage, compute_map
from byol.runtime.files import write_atomically, write_json
from byol.views.evaluation import CENTRE

CHECKED_BATCHES = (1, 2, 5)
"""Batch sizes with which an ONNX file is compared with PyTorch."""


@dataclass(frozen=True)
class Written:
    """Contents of the model card that depend on the kind of export, and notes for the user."""

    snippet: Callable[[str], str]
    """Function from the folder's name to Python code that loads the export."""
    checked: str
    """Sentence about the comparison with PyTorch."""
    library: str
    """Library that loads the export."""
    notes: tuple[str, ...] = ()


def _write_safetensors(encoder: Encoder, folder: Path) -> Written:
    save_encoder(folder, encoder.module, encoder.description)
    difference = _difference(load_encoder(folder, _empty(encoder)).module, encoder)
    return Written(
        lambda out: snippet.byol_snippet(out, encoder.description), equal_words("byol.load", difference), library="byol"
    )


def _write_plain(library: Literal["timm", "torchvision"]) -> Callable[[Encoder, Path], Written]:
    def write(encoder: Encoder, folder: Path) -> Written:
        backbone = find_backbone(encoder.description, library)
        model = load_checked(backbone, encoder.module, example(encoder, 2))
        save_encoder(folder, model, encoder.description, PLAIN_WEIGHTS)
        difference = relative_difference(model, encoder.module, example(encoder, 3))
        return Written(
            lambda out: snippet.plain_snippet(out, encoder.description, backbone),
            equal_words(library, difference),
            library,
        )

    return write


def _write_hub(encoder: Encoder, folder: Path) -> Written:
    try:
        backbone = find_backbone(encoder.description, "timm")
        model = load_checked(backbone, encoder.module, example(encoder, 2))
    except EncoderError as error:
        reason = str(error).split(". ")[0].removesuffix(".")
        note = f"{reason}; so the folder has byol's own layout, which byol.load reads but timm does not."
        return dataclasses.replace(_write_safetensors(encoder, folder), notes=(note,))
    assert isinstance(backbone, TimmBackbone)
    save_encoder(folder, model, encoder.description, PLAIN_WEIGHTS)
    config = timm_config(encoder.description, backbone)
    write_json(folder / "config.json", config)
    import timm

    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    difference = _difference(loaded, encoder)
    size = encoder.description.image_size
    note = f"timm's transform takes the whole central square of an image; byol.load takes the central {CENTRE:g} of images above 96 px."
    return Written(
        lambda out: snippet.hub_snippet(out, encoder.description),
        equal_words("timm from this folder", difference),
        "timm",
        (note,) if size <= 96 else (),
    )


def _write_onnx(encoder: Encoder, folder: Path) -> Written:
    return write_onnx_folder(encoder, folder, None)


def write_onnx_folder(encoder: Encoder, folder: Path, stage: int | None) -> Written:
    """Writes the ONNX file; with the number of a stage, as in `Encoder.maps`, its maps are a second output."""
    from byol.encoder.onnx_encoder import OnnxEncoder
    from byol.export.onnx_file import write_onnx

    index = None if stage is None else choose_stage(encoder.map_strides(), stage)
    write_onnx(folder / ONNX_WEIGHTS, encoder, index)
    write_description(folder, encoder.description)
    read_back = OnnxEncoder(folder / ONNX_WEIGHTS, encoder.description)
    largest_difference = 0.0
    for count in CHECKED_BATCHES:
        views = example(encoder, count) * encoder.std + encoder.mean
        with torch.no_grad():
            normalised = (views - encoder.mean) / encoder.std
            outputs = [encoder.module(normalised)]
            outputs += [] if index is None else [compute_map(encoder.module, normalised, index)]
        for written, expected in zip(read_back.outputs(views), outputs, strict=True):
            difference = float((written - expected).norm() / expected.norm().clamp_min(1e-30))
            largest_difference = max(largest_difference, difference)
    _require_equal(largest_difference)
    batches = ", ".join(map(str, CHECKED_BATCHES))
    what = "features" if stage is None else "features and maps"
    use = snippet.FEATURES if stage is None else snippet.WITH_MAPS
    return Written(
        lambda out: snippet.onnx_snippet(out, encoder.description, use),
        f"onnxruntime gives PyTorch's {what} in batches of {batches} (largest relative difference {largest_difference:.0e}).",
        library="onnx",
    )


def _write_detectron2(encoder: Encoder, folder: Path) -> Written:
    backbone = detectron2_backbone(encoder.description)
    model = load_checked(backbone, encoder.module, example(encoder, 2))
    tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    named = {detectron2_name(name): value for name, value in tensors.items() if not name.endswith(COUNTER)}
    torch.save({"model": named}, folder / DETECTRON2_WEIGHTS)
    write_atomically(folder / DETECTRON2_CONFIG, detectron2_config(encoder.description, backbone).encode())
    written = torch.load(folder / DETECTRON2_WEIGHTS, weights_only=True)["model"]
    read_back = backbone.build()
    read_back.load_state_dict({name: written.get(detectron2_name(name), value) for name, value in tensors.items()})
    difference = _difference(read_back, encoder)
    return Written(
        lambda out: snippet.detectron2_snippet(out),
        f"{len(named)} tensors have the names of detectron2's ResNet; back under torchvision's they give the same features (relative "
        f"difference {difference:.0e}). detectron2 itself was not run.",
        "detectron2",
    )


WRITERS: dict[str, Callable[[Encoder, Path], Written]] = {
    "timm": _write_plain("timm"),
    "torchvision": _write_plain("torchvision"),
    "safetensors": _write_safetensors,
    "onnx": _write_onnx,
    "hub": _write_hub,
    "detectron2": _write_detectron2,
}


def timm_config(description: EncoderDescription, backbone: TimmBackbone, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Content of config.json, which timm reads for `local-dir:` and `hf-hub:`. `classes`: names of a classifier's classes."""
    import timm

    default = timm.get_pretrained_cfg(backbone.name)
    size, channels = description.image_size, description.in_channels
    return {
        "architecture": backbone.name,
        "num_classes": len(classes),
        **({"label_names": list(classes)} if classes else {}),
        "num_features": description.num_features,
        "model_args": {name: value for name, value in backbone.arguments.items() if name != "num_classes"},
        "pretrained_cfg": {
            "tag": "byol",
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": "img_size" in backbone.arguments,
            "interpolation": "bicubic",
            "crop_pct": 1.0 if size <= 96 else 0.875,
            "crop_mode": "center",
            "mean": list(description.mean),
            "std": list(description.std),
            "num_classes": len(classes),
            "first_conv": default.first_conv if default is not None else None,
            "classifier": default.classifier if default is not None else None,
        },
    }


def example(encoder: Encoder, count: int) -> torch.Tensor:
    """Normalised random views, (count, C, S, S)."""
    d = encoder.description
    views = torch.rand(count, d.in_channels, d.image_size, d.image_size, generator=torch.Generator().manual_seed(count))
    return (views - encoder.mean) / encoder.std


def _difference(model: nn.Module, encoder: Encoder) -> float:
    difference = relative_difference(model, encoder.module, example(encoder, 3))
    _require_equal(difference)
    return difference


def _require_equal(difference: float) -> None:
    if not difference <= TOLERANCE:
        raise EncoderError(
            f"The written files give other features than the encoder (relative difference {difference:.1e})."
        )


def _empty(encoder: Encoder) -> nn.Module | None:
    """A copy of a user-defined encoder, to load weights into; None if the encoder can be rebuilt from its name."""
    return copy.deepcopy(encoder.module) if encoder.description.name is None else None


def equal_words(reader: str, difference: float) -> str:
    if difference == 0:
        return f"{reader} gives the same features, to the last bit."
    return f"{reader} gives the same features up to a relative difference of {difference:.0e}."
