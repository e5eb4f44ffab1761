"""Import of a checkpoint from DeepMind's BYOL into an encoder folder, together with the whole pretraining state."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import load_encoder, rebuild, require_whole, save_encoder
from byol.errors import ConfigError
from byol.export.card import model_card
from byol.export.snippet import byol_snippet
from byol.imports.deepmind_checkpoint import read_checkpoint, resnet_settings
from byol.methods.network import Branch
from byol.nets.encoder import create_encoder
from byol.runtime.files import new_folder, replacing, write_atomically
from byol.runtime.paths import user_path
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD

LICENCE = "cc-by-nc-4.0"
PRETRAINING = "pretraining.safetensors"


def import_deepmind(
    file: str | Path, out: str | Path, *, network: Branch = "online", image_size: int = 224, licence: str = LICENCE
) -> Encoder:
    """Writes the encoder of the chosen network to the folder `out` and returns it.

    `pretraining.safetensors` in the same folder holds both networks, the heads, the classifier and all batch-norm
    averages under the names of `byol.methods.byol.BYOL`. Nothing in `file` is run. Raises CheckpointError if it is no
    such checkpoint or holds anything but arrays and plain containers.
    """
    file, out = user_path(file), user_path(out)
    if image_size < 8:
        raise ConfigError(f"--image-size must be at least 8; found {image_size}.")
    checkpoint = read_checkpoint(file)
    tensors = checkpoint.encoder(network)
    name, settings = resnet_settings(tensors)
    in_channels = tensors["conv1.weight"].shape[1]
    with torch.device("meta"):
        empty = create_encoder(name, in_channels=in_channels, **settings)
    require_whole(name, empty, tensors, file)  # before memory is allocated
    training = {
        "imported from": f"{file.name}, the {network} network",
        "steps": checkpoint.step if checkpoint.step is not None else "not in the file",
        "data": "not in the file; DeepMind's published checkpoints were trained on ImageNet's 1.28 M images without labels",
    }
    source = "of DeepMind's published weights; your own checkpoints are yours" if licence == LICENCE else ""
    description = EncoderDescription(
        name=name,
        settings=settings,
        num_features=int(empty.num_features),  # pyright: ignore[reportArgumentType]
        in_channels=in_channels,
        image_size=image_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        antialias=False,
        provenance={"training": training, "licence": licence, "licence_source": source},
    )
    module = rebuild(description)
    module.load_state_dict(tensors)
    with new_folder(out) as writing:
        save_encoder(writing, module, description)
        with replacing(writing / PRETRAINING) as temporary:
            save_file(checkpoint.everything(), temporary)
        checked = "all tensors of the checkpoint have a place in this network, and it has no other."
        card = model_card(
            f"{name} of DeepMind's BYOL", description, byol_snippet(out.name, description), checked, "byol"
        )
        write_atomically(writing / "README.md", card.encode(errors="backslashreplace"))
    return load_encoder(out)
