"""The encoder under the names of detectron2's ResNets, with the settings that its images need."""

import re

from byol.encoder.encoder import EncoderDescription
from byol.errors import EncoderError
from byol.export.backbone import WHAT_WORKS_INSTEAD, TorchvisionBackbone, find_backbone
from byol.nets.encoder import RESNETS

DETECTRON2_WEIGHTS, DETECTRON2_CONFIG = "model.pth", "detectron2.yaml"
DEPTHS = (18, 34, 50, 101, 152)
"""Depths of detectron2's ResNets."""


def detectron2_backbone(description: EncoderDescription) -> TorchvisionBackbone:
    """torchvision's network that equals the encoder and has an equal in detectron2. Raises EncoderError if there is none."""
    backbone = find_backbone(description, "torchvision")
    assert isinstance(backbone, TorchvisionBackbone)
    if RESNETS.get(backbone.name) not in DEPTHS:
        raise EncoderError(
            f"detectron2 has ResNets of depth {', '.join(map(str, DEPTHS))}, not {backbone.name}. {WHAT_WORKS_INSTEAD}"
        )
    if backbone.small_stem:
        raise EncoderError(f"detectron2 has no {backbone.name} with the small stem (3x3, stride 1, no max-pool). {WHAT_WORKS_INSTEAD}")  # fmt: skip
    return backbone


def detectron2_name(name: str) -> str:
    """detectron2's name of a tensor of torchvision's ResNet: layer1.0.bn2.weight is res2.0.conv2.norm.weight."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


def detectron2_config(description: EncoderDescription, backbone: TorchvisionBackbone) -> str:
    """Text of a YAML file for `cfg.merge_from_file`: depth and place of the stride, and the normalisation of pixels from 0 to 255."""
    mean, std = ([round(255 * value, 3) for value in values] for values in (description.mean, description.std))
    depth = RESNETS[backbone.name]
    narrow = "    RES2_OUT_CHANNELS: 64\n" if depth < 50 else ""
    return f"""MODEL:
  WEIGHTS: {DETECTRON2_WEIGHTS}  # write the whole path here
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  RESNETS:
    DEPTH: {depth}
    STRIDE_IN_1X1: False
{narrow}INPUT:
  FORMAT: "RGB"
"""
