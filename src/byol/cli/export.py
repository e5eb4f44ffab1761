"""Options of `byol export` and of the imports."""

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Export:
    """Write the encoder for another tool, checked, with a model card and a text that loads it."""

    run: tyro.conf.Positional[str]
    """A run directory, or any folder that byol.load reads."""
    to: Literal["timm", "torchvision", "safetensors", "onnx", "hub"]
    """timm, torchvision: weights under their names; hub: timm's folder, as for Hugging Face; safetensors: byol's own."""
    out: str
    """The folder to write; must not exist, or be empty."""
    licence: str = ""
    """Licence of the weights, for the model card (apache-2.0, cc-by-nc-4.0, ...)."""


@dataclass(frozen=True)
class ImportDeepmind:
    """Turn a checkpoint that DeepMind published into an encoder folder; nothing of the pickle is run."""

    file: tyro.conf.Positional[str]
    """The .pkl file, of pretraining or of linear evaluation."""
    out: str
    """The folder to write; must not exist, or be empty."""
    network: Literal["online", "target"] = "online"
    """Whose encoder is written; the other one and the heads lie beside, in pretraining.safetensors."""
    image_size: int = 224
    """Side of the images that the encoder will be given."""
    licence: str = "cc-by-nc-4.0"
    """Licence of the weights, for the model card; the default is that of DeepMind's."""


@dataclass(frozen=True)
class ImportTimm:
    """Turn pretrained weights of a timm model into an encoder folder, to start from or to compare with."""

    model: tyro.conf.Positional[str]
    """The model's timm name (resnet18, vit_small_patch16_224, ...)."""
    out: str
    """The folder to write; must not exist, or be empty."""
    weights: str = ""
    """A file of its tensors, of timm or torchvision (.safetensors, .pth, .pt); default: those that timm downloads."""
    image_size: int = 224
    """Side of the images that the encoder will be given."""


def run_export(options: Export) -> int:
    from byol.commands.export import export_encoder

    export = export_encoder(options.run, options.to, options.out, licence=options.licence)
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
    width = "channels of its own" if d.settings.get("channels") else f"width {d.settings['width']:g}"
    print(f"{d.name}, {width}, {d.num_features} features, the {options.network} network, written to {options.out}")
    print(f"  licence of the weights: {options.licence}")
    print(f"Next: byol embed {options.out} --data YOUR_FOLDER --out vectors.parquet")
    return 0


def run_import_timm(options: ImportTimm) -> int:
    from byol.imports.import_timm import import_timm

    encoder = import_timm(options.model, options.out, weights=options.weights, image_size=options.image_size)
    d = encoder.description
    print(f"{d.name}, {d.num_features} features, written to {options.out}")
    print(f"Next: byol pretrain --data YOUR_FOLDER --encoder.init {options.out}")
    return 0
