"""Encoders by name: the paper's ResNets, and every timm model."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from byol.errors import EncoderError, nearest
from byol.nets.norm import Conventions
from byol.nets.replace_norm import NormKind, replace_norm, standardize_weights
from byol.nets.resnet import BLOCKS, ResNet

Stem = Literal["auto", "imagenet", "small"]
SMALL_IMAGE = 96
"""Largest view size, in pixels, for which the stem `auto` is the small one."""
RGB = 3
"""Number of channels that pretrained weights take."""
LARGE_IMAGE = 224
"""Side in pixels of ImageNet's images, as most encoders see them."""
RESNETS = {f"resnet{depth}": depth for depth in BLOCKS}


def create_encoder(
    name: str,
    *,
    in_channels: int = 3,
    image_size: int = 224,
    width: float = 1.0,
    stem: Stem = "auto",
    conventions: Conventions = "torch",
    pretrained: bool = False,
    zero_init_residual: bool = False,
    norm: NormKind = "batch",
    norm_groups: int = 32,
    weight_standardization: bool = False,
    channels: Sequence[int] = (),
    stem_channels: int = 0,
    output_stride: int = 0,
) -> nn.Module:
    """A module (N, in_channels, S, S) -> (N, num_features) with the attribute `num_features`.

    Our ResNets (`resnet10` to `resnet200`) take every option; a timm model takes `stem` if it is a ResNet.
    `norm` replaces every batch norm (`nets.replace_norm`) of either. `output_stride`: largest stride of the last map in px,
    by dilation in place of strides; 0: as the encoder is.
    Raises EncoderError for an unknown name or an option that the encoder does not have.
    """
    stem = choose_stem(stem, image_size, pretrained=pretrained)
    if name in RESNETS and not pretrained:
        encoder: nn.Module = ResNet(
            RESNETS[name],
            width=width,
            in_channels=in_channels,
            stem=stem,
            conventions=conventions,
            zero_init_residual=zero_init_residual,
            channels=channels,
            stem_channels=stem_channels,
            output_stride=output_stride,
        )
    else:
        _check_timm_knows(name)
        if width != 1.0 or conventions != "torch" or zero_init_residual or channels or stem_channels:
            raise EncoderError(
                f"encoder.width, encoder.conventions and encoder.zero_init_residual belong to our own untrained ResNets "
                f"({', '.join(RESNETS)}); {name!r} is timm's here. Leave them at their defaults."
            )
        encoder = _timm_encoder(name, in_channels, image_size, stem, pretrained, output_stride)
    replace_norm(encoder, norm, norm_groups)
    return standardize_weights(encoder) if weight_standardization else encoder


def choose_stem(stem: Stem, image_size: int, *, pretrained: bool = False) -> Stem:
    """Resolves the stem `auto`: small up to 96 px; with pretrained weights always the one they were trained with."""
    if stem != "auto":
        return stem
    return "small" if image_size <= SMALL_IMAGE and not pretrained else "imagenet"


def _check_timm_knows(name: str) -> None:
    import timm

    if not timm.is_model(name.split(".")[0]):
        if name in RESNETS:
            raise EncoderError(f"timm has no {name!r}, and so no weights for it; resnet18 and resnet50 have some.")
        known = [*RESNETS, *timm.list_models()]
        raise EncoderError(f"There is no encoder {name!r}, neither ours nor timm's.{nearest(name, known)}")


def _timm_encoder(
    name: str, in_channels: int, image_size: int, stem: str, pretrained: bool, output_stride: int
) -> nn.Module:
    import timm

    settings: dict[str, Any] = {"output_stride": output_stride} if output_stride else {}
    default = _pretrained_cfg(name)
    if default is not None and default.fixed_input_size:
        settings["img_size"] = image_size
    try:
        encoder = timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=in_channels, **settings)
    except Exception as error:
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if pretrained and isinstance(error, OSError):
            raise EncoderError(
                f"timm cannot get the weights of {name!r} ({cause}). From a file: byol import-timm {name} --weights FILE "
                "--out FOLDER, and name that folder."
            ) from error
        raise EncoderError(
            f"timm cannot build {name!r} for {in_channels} channels at {image_size} px ({cause})."
        ) from error
    if stem == "small":
        use_small_stem(encoder)
    return encoder


def _pretrained_cfg(name: str) -> Any:
    """timm's description of the pretrained weights of `name`, or None. Raises EncoderError for an unknown tag after the dot."""
    import timm

    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.split('.')[0]}.*")
        raise EncoderError(f"timm has no weights {name!r}.{nearest(name, tags)}") from error


def pretrained_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel that timm's pretrained weights of `name` expect; None without weights."""
    settings = _pretrained_cfg(name)
    return None if settings is None else (tuple(settings.mean), tuple(settings.std))


def pretrained_size(name: str) -> int:
    """Side in pixels of the images that timm's pretrained weights of `name` expect; 224 without weights."""
    settings = _pretrained_cfg(name)
    return LARGE_IMAGE if settings is None else int(settings.input_size[-1])


def converted(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors after timm's own conversion for this network, which resamples position embeddings to its image size."""
    convert = getattr(sys.modules.get(type(module).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return dict(tensors)
    try:
        return convert(dict(tensors), module)
    except Exception:  # weights of another network, which a comparison of names and shapes names
        return dict(tensors)


def with_input_channels(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, of which those of a first layer for RGB fit the channels of `module` by timm's rule (`channel_rule`).

    An image that is equal in all bands gets the features of the grey RGB image for one channel and for multiples of three.
    """
    from timm.models import adapt_input_conv

    own, fitting = module.state_dict(), dict(tensors)
    for name, tensor in tensors.items():
        if name not in own or tensor.ndim != 4 or tensor.shape[1] != RGB or own[name].shape[1] == RGB:
            continue
        fitting[name] = adapt_input_conv(own[name].shape[1], tensor)
    return fitting


def channel_rule(what: str, channels: int) -> str:
    """How weights for RGB, called `what`, take images of `channels` channels, in words; empty for RGB."""
    if channels == RGB:
        return ""
    change = "summed" if channels == 1 else f"repeated in the order R, G, B and scaled by {RGB}/{channels}"
    bands = "1 channel" if channels == 1 else f"{channels} channels"
    return f"{what} are for RGB: for {bands} those of the first layer are {change} (timm's rule)"


def takes_any_size(name: str) -> bool:
    """Whether the encoder takes images of several sizes, such as small crops; false for most vision transformers of timm."""
    default = None if name in RESNETS else _pretrained_cfg(name)
    return default is None or not default.fixed_input_size


def use_small_stem(encoder: nn.Module) -> None:
    """Replaces, in place, a ResNet's 7x7/2 stem and max-pool by a 3x3/1 convolution (SimCLR appendix B.9).

    An encoder without `conv1` and `maxpool` is left unchanged: a ViT's patch size is part of its name.
    """
    if has_pooled_stem(encoder):
        first: Any = encoder.conv1
        encoder.conv1 = nn.Conv2d(first.in_channels, first.out_channels, 3, 1, padding=1, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        encoder.maxpool = nn.Identity()


def has_pooled_stem(encoder: nn.Module) -> bool:
    """Whether an encoder begins as torchvision's ResNets do, with one convolution and a max-pool."""
    first, pool = getattr(encoder, "conv1", None), getattr(encoder, "maxpool", None)
    return isinstance(first, nn.Conv2d) and isinstance(pool, nn.Module)


@torch.no_grad()
def find_num_features(encoder: nn.Module, in_channels: int, image_size: int) -> int:
    """Width of the encoder's output, measured by one forward in eval mode.

    Raises EncoderError where it is no module, does not take such images, or its output is not (N, D).
    """
    if not isinstance(encoder, nn.Module):
        raise EncoderError(f"The encoder must be a torch.nn.Module, ready made; found {encoder!r}.")
    kind = type(encoder).__name__
    parameter = next(encoder.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    was_training = encoder.training
    encoder.eval()
    try:
        output = encoder(torch.zeros(2, in_channels, image_size, image_size, device=device))
    except Exception as error:  # whatever a module that others wrote comes upon
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"The encoder {kind} does not take images of {in_channels} channels at {image_size} px ({reason})."
        ) from error
    finally:
        encoder.train(was_training)
    if not isinstance(output, torch.Tensor):
        raise EncoderError(
            f"The encoder {kind} gives {type(output).__name__}, not a tensor; wrap it in a module that returns the one tensor of "
            f"vectors, (N, D)."
        )
    if output.dim() != 2:
        raise EncoderError(
            f"The encoder {kind} gives {tuple(output.shape)}; it must give one vector per image, (N, D). End it with pooling."
        )
    return output.shape[1]
