"""Initial weights of a training: their origin and their architecture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from byol.config import EncoderConfig
from byol.data.profile import DataProfile
from byol.encoder.encoder import Encoder
from byol.encoder.encoder_file import (
    KEPT_AVERAGES,
    TRAINED_ELSEWHERE,
    copy_weights,
    load_encoder,
    read_description,
    rebuild,
    save_encoder,
)
from byol.errors import ConfigError, EncoderError
from byol.imports.import_timm import import_timm
from byol.nets.encoder import RGB, channel_rule, pretrained_size
from byol.runtime.files import new_folder
from byol.runtime.paths import user_path

TIMM = "timm:"
SIZE_STEP = 32
"""Multiple of the image size that is chosen for small images, in pixels: the stride of a ResNet."""


def starts_elsewhere(encoder: EncoderConfig) -> bool:
    """Whether the initial weights were trained elsewhere: timm's, imported, or trained further with frozen batch-norm averages.

    Raises RunError if encoder.init is not the folder of an encoder.
    """
    if not encoder.init:
        return encoder.pretrained
    start = read_description(encoder.init).provenance
    return start.get("how") == TRAINED_ELSEWHERE or start.get("averages") == KEPT_AVERAGES


def network_of_start(encoder: EncoderConfig) -> dict[str, Any]:
    """Dotted settings of the architecture in encoder.init, without the stem if that is automatic. Empty without encoder.init."""
    start = read_description(encoder.init) if encoder.init else None
    if start is None or start.name is None:
        return {}
    known = {"name": start.name, **start.settings}
    without = {"stem"} if encoder.stem == "auto" else set()
    return {f"encoder.{n}": v for n, v in known.items() if n not in without and hasattr(encoder, n)}


def channels_of_start(encoder: EncoderConfig, channels: int) -> str:
    """How initial weights for RGB take images of `channels` channels, in words; empty if they are not changed."""
    if encoder.init:
        return channel_rule(f"the weights in {encoder.init}", channels) if _is_rgb(encoder.init) else ""
    return channel_rule(f"timm's weights of {encoder.name}", channels) if encoder.pretrained else ""


def _is_rgb(folder: str | Path) -> bool:
    return read_description(folder).in_channels == RGB


def copy_start(
    start: str | Path,
    folder: Path,
    *,
    weights: str | Path = "",
    prefix: str = "",
    images: DataProfile,
    say: Callable[[str], None],
) -> Encoder:
    """Writes the encoder `start` to the new `folder` and returns it: `timm:MODEL`, a run, or the folder of an encoder.

    A timm model gets the image size that it was trained with, or twice the short side of the `images` if that is smaller. An
    encoder of RGB gets the channels of the images (`channel_rule`), and their mean and standard deviation. Raises ConfigError if
    `weights` are given for anything but a timm model, EncoderError if the channels do not fit, and the errors of
    `import_timm` and `load_encoder`.
    """
    encoder = _copied(start, folder, weights, prefix, images.short_side, say)
    about = encoder.description
    if about.in_channels == images.channels:
        return encoder
    rule = channel_rule("the weights of the start", images.channels)
    if about.in_channels != RGB or not rule:
        raise EncoderError(
            f"The start {start} takes images of {about.in_channels} channels; these have {images.channels}. Only weights for RGB are "
            "changed to other channels."
        )
    say(rule)
    training = {**(about.provenance.get("training") or {}), "channels": rule}
    about = replace(
        about,
        in_channels=images.channels,
        mean=images.mean,
        std=images.std,
        provenance={**about.provenance, "training": training},
    )
    encoder = Encoder(copy_weights(folder, rebuild(about, f"The start {start}")), about)
    save_encoder(folder, encoder.module, about)
    return encoder


def _copied(
    start: str | Path, folder: Path, weights: str | Path, prefix: str, short_side: int, say: Callable[[str], None]
) -> Encoder:
    """The encoder `start`, as it is, written to the new `folder`."""
    name = str(start)
    if name.startswith(TIMM):
        model = name.removeprefix(TIMM).removesuffix(":pretrained")
        size = min(pretrained_size(model), max(SIZE_STEP, 2 * short_side // SIZE_STEP * SIZE_STEP))
        encoder = import_timm(model, folder, weights=weights, prefix=prefix, image_size=size, say=say)
        say(f"start: {model} at {size} px, {encoder.num_features} features")
        return encoder
    if weights:
        raise ConfigError(f"--weights goes with timm:MODEL as the start, which names their network; found {name}.")
    path = user_path(start)
    if (path.is_file() and path.suffix in (".pth", ".safetensors")) or (
        path.suffix == ".pt" and "step_" not in path.name
    ):
        raise ConfigError(
            f"{path} holds weights, and their network must be named: byol adapt timm:MODEL --weights {path}, with the MODEL "
            "that they were trained with (resnet50, vit_small_patch16_224, ...)."
        )
    encoder = load_encoder(path)
    if encoder.description.name is None or not hasattr(encoder.module, "train"):
        raise EncoderError(f"The encoder in {path} is a module of your own, which cannot be rebuilt from its name.")
    with new_folder(folder) as writing:
        save_encoder(writing, encoder.module, encoder.description)
    d = encoder.description
    say(f"start: {d.name} of {path} at {d.image_size} px, {d.num_features} features")
    return encoder
