"""Backbones: the encoder's network as timm or torchvision builds it."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from byol.encoder.encoder import EncoderDescription
from byol.errors import EncoderError
from byol.nets.encoder import RESNETS, choose_stem, has_pooled_stem
from byol.nets.resnet import BLOCKS

Library = Literal["timm", "torchvision"]
TOLERANCE = 1e-4
"""Largest relative difference of float32 features that counts as equal."""
COUNTER = "num_batches_tracked"
"""End of the names of batch norm's counters, which change no feature."""
WHAT_WORKS_INSTEAD = "--to onnx runs anywhere, --to safetensors is read by byol.load."
"""Advice at the end of each message about an export that is not possible."""


@dataclass(frozen=True)
class TimmBackbone:
    """A network of timm, `timm.create_model(name, **arguments)`."""

    name: str
    arguments: dict[str, Any]

    def build(self) -> nn.Module:
        """The network with new weights, without classifier."""
        import timm

        return timm.create_model(self.name, **self.arguments)

    def lines(self) -> list[str]:
        """Python code that builds the same network as `model`."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return [f'model = timm.create_model("{self.name}"{arguments})']


@dataclass(frozen=True)
class TorchvisionBackbone:
    """A ResNet of torchvision; its first layers are replaced for small images or other numbers of channels."""

    name: str
    in_channels: int
    small_stem: bool

    def build(self) -> nn.Module:
        """The network with new weights, without classifier."""
        from torchvision.models import resnet

        model: Any
        if hasattr(resnet, self.name):
            model = getattr(resnet, self.name)()
        else:
            depth = RESNETS[self.name]
            model = resnet.ResNet(resnet.BasicBlock if depth < 50 else resnet.Bottleneck, list(BLOCKS[depth]))
        model.fc = nn.Identity()
        if self.small_stem:
            model.conv1 = nn.Conv2d(self.in_channels, 64, 3, 1, 1, bias=False)
            model.maxpool = nn.Identity()
        elif self.in_channels != 3:
            model.conv1 = nn.Conv2d(self.in_channels, 64, 7, 2, 3, bias=False)
        return model

    def lines(self) -> list[str]:
        """Python code that builds the same network as `model`."""
        lines = [f"model = {self._call()}", "model.fc = torch.nn.Identity()"]
        if self.small_stem:
            lines.append(f"model.conv1 = torch.nn.Conv2d({self.in_channels}, 64, 3, 1, 1, bias=False)")
            lines.append("model.maxpool = torch.nn.Identity()")
        elif self.in_channels != 3:
            lines.append(f"model.conv1 = torch.nn.Conv2d({self.in_channels}, 64, 7, 2, 3, bias=False)")
        return lines

    def _call(self) -> str:
        from torchvision.models import resnet

        if hasattr(resnet, self.name):
            return f"torchvision.models.{self.name}()"
        depth = RESNETS[self.name]
        block = "BasicBlock" if depth < 50 else "Bottleneck"
        return f"torchvision.models.ResNet(torchvision.models.resnet.{block}, {list(BLOCKS[depth])})"


Backbone = TimmBackbone | TorchvisionBackbone


def find_backbone(description: EncoderDescription, library: Library) -> Backbone:
    """The equal network of `library`. Raises EncoderError, with reason and alternatives, if there is none."""
    name, settings = description.name, description.settings
    if name is None:
        raise EncoderError(f"The encoder is a module of your own, which {library} does not have. {WHAT_WORKS_INSTEAD}")
    if settings.get("conventions", "torch") == "deepmind":
        raise EncoderError(
            f"The encoder has DeepMind's conventions: it pads one row more below than above. No network of {library} does, so "
            f"the same weights would give other features there. {WHAT_WORKS_INSTEAD}"
        )
    if settings.get("width", 1.0) != 1.0 or settings.get("channels"):
        raise EncoderError(
            f"{library} has no {name} with all channels scaled, including the stem's (width {settings['width']:g}). "
            f"{WHAT_WORKS_INSTEAD}"
        )
    return _in_timm(description, name) if library == "timm" else _in_torchvision(description, name)


def has_small_stem(description: EncoderDescription) -> bool:
    """Whether the encoder's settings choose the small stem: a 3x3 convolution with stride 1 and no max-pool."""
    return choose_stem(description.settings.get("stem", "auto"), description.image_size) == "small"


def _in_timm(description: EncoderDescription, name: str) -> Backbone:
    import timm

    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": description.in_channels}
    if name == "resnet10":
        name, arguments["layers"] = "resnet18", BLOCKS[10]
    default = timm.get_pretrained_cfg(name)
    if default is not None and default.fixed_input_size:
        arguments["img_size"] = description.image_size
    backbone = TimmBackbone(name, arguments)
    if has_small_stem(description):
        with torch.device("meta"):
            differs = has_pooled_stem(backbone.build())
        if differs:
            works = "--to torchvision works; " if _is_in_torchvision(name) else ""
            raise EncoderError(
                f"timm has no {description.name} with the small stem (3x3, stride 1, no max-pool). {works}{WHAT_WORKS_INSTEAD}"
            )
    return backbone


def _in_torchvision(description: EncoderDescription, name: str) -> TorchvisionBackbone:
    if not _is_in_torchvision(name):
        raise EncoderError(
            f"torchvision has no {name} with the same parameters; only ResNets are the same in timm and torchvision. --to hub "
            f"works; {WHAT_WORKS_INSTEAD}"
        )
    return TorchvisionBackbone(name.split(".")[0], description.in_channels, has_small_stem(description))


def _is_in_torchvision(name: str) -> bool:
    """Whether torchvision has a network with this name of timm's and the same parameters."""
    from torchvision.models import resnet

    base = name.split(".")[0]
    return base in RESNETS or (base.startswith(("resnext", "wide_resnet")) and hasattr(resnet, base))


@torch.no_grad()
def relative_difference(model: nn.Module, expected: nn.Module, images: torch.Tensor) -> float:
    """Relative difference of features, |model(images) - expected(images)| / |expected(images)|, in eval mode."""
    truth = expected.eval()(images)
    return float((model.eval()(images) - truth).norm() / truth.norm().clamp_min(1e-30))


def load_checked(backbone: Backbone, encoder: nn.Module, images: torch.Tensor) -> nn.Module:
    """The library's network with the encoder's weights. Raises EncoderError if weights do not fit or features differ."""
    model = backbone.build()
    try:
        model.load_state_dict(encoder.state_dict())
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise EncoderError(f"The weights do not fit {backbone.lines()[0]} ({cause}). {WHAT_WORKS_INSTEAD}") from error
    difference = relative_difference(model, encoder, images)
    if not difference <= TOLERANCE:
        raise EncoderError(
            f"{backbone.lines()[0]} accepts the weights but gives other features (relative difference {difference:.1e}). "
            f"{WHAT_WORKS_INSTEAD}"
        )
    return model
