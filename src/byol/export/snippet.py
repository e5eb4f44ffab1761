"""Snippets: Python code that loads an export and computes the features of one photo, for terminal and model card."""

import json

from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import ONNX_WEIGHTS, PLAIN_WEIGHTS
from byol.export.backbone import Backbone, TimmBackbone

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode by number of channels."""


def byol_snippet(folder: str, description: EncoderDescription) -> str:
    """Code for a folder in this package's layout."""
    lines = ["import byol"]
    if description.in_channels in MODES:
        lines += [
            "import numpy as np",
            "import torch",
            "from PIL import Image, ImageOps",
            "",
            f"encoder = byol.load({json.dumps(folder)})",
            f'image = np.array(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{MODES[description.in_channels]}"), ndmin=3)',
            "images = torch.from_numpy(image"
            + (")[None]" if description.in_channels == 1 else ").permute(2, 0, 1)[None]"),
        ]
    else:
        lines += ["import torch", "", f"encoder = byol.load({json.dumps(folder)})"]
        lines += [f"images = torch.rand(1, {description.in_channels}, 256, 256)  # yours: uint8, or floats in [0, 1]"]
    return _text([*lines, "features = encoder(images)", *_shape()])


def plain_snippet(folder: str, description: EncoderDescription, backbone: Backbone) -> str:
    """Code for weights under the plain names of timm or torchvision."""
    library = "timm" if isinstance(backbone, TimmBackbone) else "torchvision"
    channels = description.in_channels
    shape = (channels, 1, 1)
    return _text(
        [
            "import numpy as np",
            *sorted(["import torch", f"import {library}"]),
            *(["from PIL import Image, ImageOps"] if channels in MODES else []),
            "from safetensors.torch import load_file",
            "",
            *backbone.lines(),
            f"model.load_state_dict(load_file({json.dumps(f'{folder}/{PLAIN_WEIGHTS}')}))",
            "model.eval()",
            "",
            *_pixels(description),
            f"mean = torch.tensor({list(description.mean)}).view{shape}",
            f"std = torch.tensor({list(description.std)}).view{shape}",
            "with torch.no_grad():",
            "    features = model((torch.from_numpy(pixels) - mean) / std)",
            *_shape(),
        ]
    )


def hub_snippet(folder: str, description: EncoderDescription) -> str:
    """Code for a folder in timm's layout, with timm's own transform."""
    channels, size = description.in_channels, description.image_size
    if channels in MODES:
        image = [
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)",
            f'images = transform(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{MODES[channels]}"))[None]',
        ]
    else:
        image = [f"images = torch.rand(1, {channels}, {size}, {size})  # yours: normalised, see encoder.json"]
    return _text(
        [
            *sorted(["import torch", "import timm"]),
            *(["from PIL import Image, ImageOps"] if channels in MODES else []),
            "",
            f"model = timm.create_model({json.dumps(f'local-dir:{folder}')}, pretrained=True).eval()",
            *image,
            "with torch.no_grad():",
            "    features = model(images)",
            *_shape(),
        ]
    )


def onnx_snippet(folder: str, description: EncoderDescription, *, has_maps: bool = False) -> str:
    """Code for an ONNX file, without torch. `has_maps`: the file's second output are maps."""
    return _text(
        [
            "import numpy as np",
            "import onnxruntime",
            *(["from PIL import Image, ImageOps"] if description.in_channels in MODES else []),
            "",
            f"session = onnxruntime.InferenceSession({json.dumps(f'{folder}/{ONNX_WEIGHTS}')})",
            *_pixels(description),
            f'{"features, maps" if has_maps else "(features,)"} = session.run(None, {{"images": pixels}})',
            "print(features.shape, maps.shape)" if has_maps else "print(features.shape)",
        ]
    )


def detectron2_snippet(folder: str) -> str:
    """Code that builds a detector of detectron2 with the weights."""
    return _text(
        [
            "from detectron2 import model_zoo",
            "from detectron2.checkpoint import DetectionCheckpointer",
            "from detectron2.config import get_cfg",
            "from detectron2.modeling import build_model",
            "",
            "cfg = get_cfg()",
            'cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))',
            f"cfg.merge_from_file({json.dumps(f'{folder}/detectron2.yaml')})",
            "model = build_model(cfg)",
            f"DetectionCheckpointer(model).load({json.dumps(f'{folder}/model.pth')})  # the log names what was not matched: no stem, no res2 to res5",
        ]
    )


def _pixels(description: EncoderDescription) -> list[str]:
    """Lines that compute `pixels`, the centre view resized by Pillow: (1, C, S, S) float32 in [0, 1]."""
    channels, size = description.in_channels, description.image_size
    if channels not in MODES:
        return [f'pixels = np.random.rand(1, {channels}, {size}, {size}).astype("float32")  # yours: floats in [0, 1]']
    side = "max(1, int(0.875 * min(image.size)))"
    if size <= 96:
        side = f"min(image.size) if min(image.size) <= 96 else {side}"
    return [
        f'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{MODES[channels]}")',
        f"side = {side}",
        "left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2",
        "image = image.crop((left, top, left + side, top + side))",
        f"image = image.resize(({size}, {size}), Image.Resampling.BICUBIC)",
        f'pixels = np.asarray(image, "float32").reshape({size}, {size}, {channels}).transpose(2, 0, 1)[None] / 255',
    ]


def _shape() -> list[str]:
    return ["print(features.shape)"]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
