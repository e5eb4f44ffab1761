"""The commands `byol export`, `byol import-deepmind` and `byol import-timm`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from byol.cli.options import Commands, EncoderName
from byol.runtime.words import command


@dataclass(frozen=True)
class Export:
    """Export the encoder for another tool, with a model card and Python code that loads it; the result is checked."""

    run: EncoderName
    """Encoder: a run directory, or any folder that byol.load reads."""
    to: Literal["timm", "torchvision", "safetensors", "onnx", "hub", "detectron2"]
    """Format. timm, torchvision, detectron2: weights under the names of that library; hub: a folder in timm's layout, for Hugging Face; safetensors: byol's own layout; onnx: an ONNX graph."""
    out: str
    """Folder to write. It must be empty or not exist yet."""
    licence: str = ""
    """Licence of the weights for the model card (apache-2.0, cc-by-nc-4.0, ...)."""
    maps: bool = False
    """Give an ONNX graph the feature maps as its second output."""
    stage: int = 0
    """Stage of these maps: 1 is the first, -1 the last. 0: the last one with a stride of at most 16 px."""


@dataclass(frozen=True)
class ImportDeepmind:
    """Convert a checkpoint published by DeepMind to an encoder folder. No code in the pickle file is run."""

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """The .pkl file of a pretraining or of a linear evaluation."""
    out: str
    """Folder to write. It must be empty or not exist yet."""
    network: Literal["online", "target"] = "online"
    """Network whose encoder is written. All other weights go to pretraining.safetensors in the same folder."""
    image_size: int = 224
    """Side of the input images in pixels."""
    licence: str = "cc-by-nc-4.0"
    """Licence of the weights for the model card. The default is the licence of DeepMind's weights."""


@dataclass(frozen=True)
class ImportTimm:
    """Convert pretrained weights of a timm model to an encoder folder, as initial weights or for comparison."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Name of the model in timm (resnet18, vit_small_patch16_224, ...)."""
    out: str
    """Folder to write. It must be empty or not exist yet."""
    weights: str = ""
    """Weights file from timm or torchvision, or a training checkpoint (.safetensors, .pth, .pt). Default: the weights that timm downloads."""
    prefix: str = ""
    """Text before the network's names in that file, such as student.backbone., if several fit."""
    image_size: int = 224
    """Side of the input images in pixels."""


def run_export(options: Export) -> int:
    from byol.commands.export import export_encoder

    export = export_encoder(
        options.run, options.to, options.out, licence=options.licence, maps=options.maps, stage=options.stage
    )
    for note in export.notes:
        print(f"  {note}")
    print(f"written to {export.path}; {export.checked}\n\n{export.snippet}", end="")
    return 0


def run_import_deepmind(options: ImportDeepmind) -> int:
    from byol.imports.import_deepmind import import_deepmind

    encoder = import_deepmind(
        options.file, options.out, network=options.network, image_size=options.image_size, licence=options.licence
    )
    d = encoder.description
    width = "its own number of channels" if d.settings.get("channels") else f"width {d.settings['width']:g}"
    print(f"{d.name}, {width}, {d.num_features} features, the {options.network} network, written to {options.out}")
    print(f"  licence of the weights: {options.licence}")
    print(f"Next: {command('embed', options.out, '--data', 'YOUR_FOLDER', '--out', 'vectors.parquet')}")
    return 0


def run_import_timm(options: ImportTimm) -> int:
    from byol.imports.import_timm import import_timm

    encoder = import_timm(
        options.model,
        options.out,
        weights=options.weights,
        prefix=options.prefix,
        image_size=options.image_size,
        say=print,
    )
    d = encoder.description
    print(f"{d.name}, {d.num_features} features, written to {options.out}")
    print(f"Next: {command('pretrain', '--data', 'YOUR_FOLDER', '--encoder.init', options.out)}")
    return 0


COMMANDS: Commands = {
    "export": (Export, run_export),
    "import-deepmind": (ImportDeepmind, run_import_deepmind),
    "import-timm": (ImportTimm, run_import_timm),
}
