"""Snippets: Python code that loads an export and computes the features of one photo, for terminal and model card."""

import json
from dataclasses import dataclass

from byol.encoder.classifier import CLASSIFIER
from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import ONNX_WEIGHTS, PLAIN_WEIGHTS
from byol.export.backbone import Backbone, TimmBackbone

ONNX_CLASSIFIER = "classifier.onnx"
MODES = {1: "L", 3: "RGB"}
"""Pillow's mode by number of channels."""


@dataclass(frozen=True)
class Use:
    """The result that the code computes, and the lines that use it."""

    name: str = "features"
    lines: tuple[str, ...] = ("print(features.shape)",)
    imports: tuple[str, ...] = ()


FEATURES, WITH_MAPS = Use(), Use("features, maps", ("print(features.shape, maps.shape)",))


def class_use(folder: str, library: str, *, several: bool) -> Use:
    """The most probable class of an image in place of its features, by a classifier in `folder` that `library` runs."""
    if library == "byol":
        return Use("probabilities", ("print(encoder.named(images))",))
    lines = [f'with open({json.dumps(f"{folder}/{CLASSIFIER}")}, encoding="utf-8") as file:']
    lines += ['    classes = json.load(file)["classes"]']
    name = "probabilities"
    if library == "timm":
        name = "logits"
        lines += [f"probabilities = logits.{'sigmoid()' if several else 'softmax(dim=1)'}"]
    lines += ["print(classes[int(probabilities[0].argmax())], float(probabilities[0].max()))"]
    return Use(name, tuple(lines), ("import json", ""))


def byol_snippet(folder: str, description: EncoderDescription, use: Use = FEATURES) -> str:
    """Code for a folder in this package's layout."""
    lines = ["import byol"]
    load = f"encoder = byol.load({json.dumps(folder)})"
    if use is not FEATURES:
        load = load.replace("byol.load", "byol.load_classifier")
    if _takes_photos(description):
        lines += [
            "import numpy as np",
            "import torch",
            "from PIL import Image, ImageOps",
            "",
            load,
            f'image = np.array(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{MODES[description.in_channels]}"), ndmin=3)',
            "images = torch.from_numpy(image"
            + (")[None]" if description.in_channels == 1 else ").permute(2, 0, 1)[None]"),
        ]
    else:
        lines += ["import torch", "", load]
        kinds = "integers as stored" if description.number_format else "uint8"
        lines += [f"images = torch.rand(1, {description.in_channels}, 256, 256)  # yours: {kinds}, or floats in [0, 1]"]
    return _text([*lines, f"{use.name} = encoder(images)", *use.lines])


def plain_snippet(folder: str, description: EncoderDescription, backbone: Backbone, use: Use = FEATURES) -> str:
    """Code for weights under the plain names of timm or torchvision."""
    library = "timm" if isinstance(backbone, TimmBackbone) else "torchvision"
    channels = description.in_channels
    shape = (channels, 1, 1)
    return _text(
        [
            *use.imports,
            "import numpy as np",
            *sorted(["import torch", f"import {library}"]),
            *(["from PIL import Image, ImageOps"] if _takes_photos(description) else []),
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
            f"    {use.name} = model((torch.from_numpy(pixels) - mean) / std)",
            *use.lines,
        ]
    )


def hub_snippet(folder: str, description: EncoderDescription, use: Use = FEATURES) -> str:
    """Code for a folder in timm's layout, with timm's own transform."""
    channels, size = description.in_channels, description.image_size
    if _takes_photos(description):
        image = [
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)",
            f'images = transform(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{MODES[channels]}"))[None]',
        ]
    else:
        image = [f"images = torch.rand(1, {channels}, {size}, {size})  # yours: normalised, see encoder.json"]
    return _text(
        [
            *use.imports,
            *sorted(["import torch", "import timm"]),
            *(["from PIL import Image, ImageOps"] if _takes_photos(description) else []),
            "",
            f"model = timm.create_model({json.dumps(f'local-dir:{folder}')}, pretrained=True).eval()",
            *image,
            "with torch.no_grad():",
            f"    {use.name} = model(images)",
            *use.lines,
        ]
    )


def onnx_snippet(folder: str, description: EncoderDescription, use: Use = FEATURES) -> str:
    """Code for an ONNX file, without torch."""
    file = ONNX_WEIGHTS if use in (FEATURES, WITH_MAPS) else ONNX_CLASSIFIER
    names = use.name.split(", ")
    return _text(
        [
            *use.imports,
            "import numpy as np",
            "import onnxruntime",
            *(["from PIL import Image, ImageOps"] if _takes_photos(description) else []),
            "",
            f"session = onnxruntime.InferenceSession({json.dumps(f'{folder}/{file}')})",
            *_pixels(description),
            f'({", ".join(names)}{"," if len(names) == 1 else ""}) = session.run({json.dumps(names)}, {{"images": pixels}})',
            *use.lines,
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
    if not _takes_photos(description):
        rule = f"; {description.number_format}" if description.number_format else ""
        return [
            f'pixels = np.random.rand(1, {channels}, {size}, {size}).astype("float32")  # yours: floats in [0, 1]{rule}'
        ]
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


def _takes_photos(description: EncoderDescription) -> bool:
    """Whether Pillow reads the images as the encoder takes them: grey or RGB of 8 bits."""
    return description.in_channels in MODES and description.number_format is None


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
