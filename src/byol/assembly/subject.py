"""The subject of an evaluation: the encoder of a run or an export, a timm model, or a baseline without weights."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from byol.assembly.networks import seeded
from byol.assembly.starts import TIMM
from byol.assembly.trained_run import TrainedRun
from byol.data.number_format import follow
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import DataSpec, as_spec
from byol.encoder.encoder import Encoder, EncoderDescription
from byol.encoder.encoder_file import load_encoder, rebuild, run_of
from byol.encoder.onnx_encoder import OnnxEncoder
from byol.errors import DataError, EncoderError, RunError
from byol.evaluate.handcrafted import (
    CELLS,
    MOST_CHANNELS,
    Handcrafted,
    Statistics,
    num_handcrafted,
    num_statistics,
)
from byol.evaluate.protocols.options import HOG, STATISTICS, WITHOUT_WEIGHTS
from byol.methods.network import Branch
from byol.nets.encoder import (
    LARGE_IMAGE,
    SMALL_IMAGE,
    channel_rule,
    choose_stem,
    create_encoder,
    find_num_features,
    pretrained_normalization,
)
from byol.runtime.listener import SILENT, Listener
from byol.views.policy import IMAGENET_MEAN, IMAGENET_STD, Semantics, ViewPolicy

_CHANNELS = "channels"
"""Entry of the provenance on how weights for RGB take images of other channels."""


@dataclass(frozen=True)
class Subject:
    """An encoder, and functions and settings that some protocols need."""

    name: str
    network: str
    encoder: Encoder
    trainable: Callable[[], nn.Module]
    """Function that gives a trainable copy of the encoder's module. Raises EncoderError if there is none."""
    untrained: Callable[[int], nn.Module]
    pretraining_view: ViewPolicy | None = None
    semantics: Semantics = "deepmind"

    @property
    def home(self) -> Path:
        """Folder for the results of this encoder."""
        return home(self.name)


def home(name: str, data: str = "") -> Path:
    """Folder for the results of the encoder `name`: its own folder; a folder beside a checkpoint; else runs/NAME, or runs/NAME/DATA."""
    if Path(name).is_file():
        return Path(name).with_suffix("")
    if Path(name).is_dir():
        return Path(name)
    return Path("runs") / name.replace(":", "-").replace("/", "-") / re.sub(r"[^\w.]+", "-", data).strip("-.")


def trained_images(
    name: str,
    data: str | DataSpec = "",
    *,
    listener: Listener = SILENT,
) -> ImageSource:
    """The images in `data`; if empty, those that the run `name` was trained on. Raises DataError if these are unknown."""
    spec = as_spec(data)
    if spec.data:
        return open_source(with_trained_columns(name, spec), listener=listener)
    folder = run_of(name)
    if not (folder.exists() or name in WITHOUT_WEIGHTS or name.startswith(TIMM)):
        raise RunError(
            f"There is no folder {folder}. Name a run directory, an encoder folder, or {TIMM}MODEL:pretrained."
        )
    run = next(
        (place for place in (folder, folder / "run") if (place / "run.json").exists()), None
    )  # or an adaptation's
    trained_on = DataSpec("") if run is None else TrainedRun.open(run).data
    if not trained_on.data:
        raise DataError(f"{name} does not record which images it was trained on. Give them with --data.")
    return open_source(replace(trained_on, root=spec.root or trained_on.root, download=False), listener=listener)


def with_trained_columns(name: str, data: str | DataSpec) -> DataSpec:
    """`data`, with the cache of the run `name`, and with its columns, layout and pages if it was trained on the same data."""
    spec, folder = as_spec(data), run_of(name)
    if not (folder / "run.json").exists():
        return spec
    trained_on = TrainedRun.open(folder).data
    same = (
        bool(trained_on.data) and Path(trained_on.data).expanduser().resolve() == Path(spec.data).expanduser().resolve()
    )
    return (spec.read_as(trained_on) if same else spec).with_cache_of(trained_on)


def open_subject(name: str, train: ImageSource, *, network: Branch = "online", seed: int = 0) -> Subject:
    """Opens the encoder `name`: a run directory, a checkpoint, an encoder folder, `timm:MODEL` (random weights),
    `timm:MODEL:pretrained`, `pixels`, `hog` or `statistics`.

    `train`: images that decide channels and size for `timm:MODEL` and what has no weights. Raises RunError, EncoderError.
    """
    if name in WITHOUT_WEIGHTS or name.startswith(TIMM):
        if network == "target":
            raise EncoderError(f"{name} has no target network; leave --network at online.")
        return _timm(name, train, seed) if name.startswith(TIMM) else _without_weights(name, train)
    encoder = load_encoder(name)
    follow(train, encoder.description.number_format)
    folder = run_of(name)
    is_run = (folder / "run.json").exists()
    if network == "target":
        if not is_run or Path(name).is_file():
            raise RunError(f"{name} is not a run directory, so it has no target network; leave --network at online.")
        trained = TrainedRun.open(folder)
        if trained.config.method.teacher:
            raise EncoderError(
                f"The target network of {folder} is its teacher; evaluate {trained.config.method.teacher}."
            )
        method = trained.method()
        target = getattr(method, "target", None)
        if target is None:
            raise EncoderError(f"The method of {folder} has no target network; leave --network at online.")
        encoder = Encoder(target.encoder, encoder.description)
    subject = subject_of(name, encoder)
    if not is_run:
        return subject
    views = TrainedRun.open(folder).config.views
    return replace(subject, network=network, pretraining_view=views.view1, semantics=views.semantics)


def tell_channels(encoder: Encoder, say: Callable[[str], None]) -> None:
    """Tells how timm's weights for RGB take the images, if these have other channels."""
    if rule := encoder.description.provenance.get(_CHANNELS):
        say(rule)


def subject_of(name: str, encoder: Encoder) -> Subject:
    """The subject for an encoder in memory. `name`: its name in results."""
    description = encoder.description

    def trainable() -> nn.Module:
        if isinstance(encoder, OnnxEncoder):
            raise EncoderError(f"{name} is an ONNX file, which cannot be trained; give the run directory.")
        return copy.deepcopy(encoder.module).requires_grad_(True)

    def untrained(seed: int) -> nn.Module:
        settings = {**description.settings, "pretrained": False}
        with seeded(seed):
            return rebuild(replace(description, settings=settings), f"The encoder {name}")

    return Subject(name, "online", encoder, trainable, untrained)


def _without_weights(name: str, train: ImageSource) -> Subject:
    data_profile = profile(train, SkippedImages())
    channels, size = data_profile.channels, min(data_profile.short_side, 32)
    module, features = nn.Flatten(), channels * size**2
    if name == HOG:
        if channels > MOST_CHANNELS:
            raise EncoderError(
                f"hog counts joint colours of at most {MOST_CHANNELS} channels; {train.description} has {channels}. Use statistics instead."
            )
        size = max(CELLS, min(data_profile.short_side, 64) // CELLS * CELLS)
        module, features = Handcrafted(), num_handcrafted(channels)
    elif name == STATISTICS:
        size, module, features = min(data_profile.short_side, 64), Statistics(), num_statistics(channels)
    mean, std = (0.0,) * channels, (1.0,) * channels
    description = EncoderDescription(None, {}, features, channels, size, mean, std, antialias=True)

    def refuse(*_: int) -> nn.Module:
        raise EncoderError(f"{name} has no weights to train; this protocol needs an encoder.")

    return Subject(name, "none", Encoder(module, description), refuse, refuse)


def _timm(name: str, train: ImageSource, seed: int) -> Subject:
    model, _, weights = name.removeprefix(TIMM).partition(":")
    if weights not in ("", "pretrained"):
        raise EncoderError(f"{name} ends in {weights!r}; write {TIMM}{model} or {TIMM}{model}:pretrained.")
    data_profile = profile(train, SkippedImages())
    size = data_profile.short_side if data_profile.short_side <= SMALL_IMAGE else LARGE_IMAGE
    pretrained = bool(weights)
    settings = {"stem": choose_stem("auto", size, pretrained=pretrained), "pretrained": pretrained}
    with seeded(seed):
        module = create_encoder(model, in_channels=data_profile.channels, image_size=size, **settings)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if data_profile.channels == 3 else (data_profile.mean, data_profile.std)
    if weights and data_profile.channels == 3:
        mean, std = pretrained_normalization(model) or (mean, std)
    features = find_num_features(module, data_profile.channels, size)
    description = EncoderDescription(model, settings, features, data_profile.channels, size, mean, std, True)
    if weights and (rule := channel_rule(f"timm's weights of {model}", data_profile.channels)):
        description = replace(description, provenance={_CHANNELS: rule})
    return replace(subject_of(name, Encoder(module, description)), network=weights or "untrained")
