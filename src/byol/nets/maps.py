"""Feature maps: one vector for each place of an image, before the encoder pools them."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from byol.errors import EncoderError

COARSEST = 16
"""Largest stride, in pixels, of the stage that is taken where none is named."""


@runtime_checkable
class OffersMaps(Protocol):
    """A module that gives its own maps. Our ResNets do, and any module of a user's with these two members."""

    strides: Sequence[int]
    """Pixels between neighbouring vectors, for each stage from first to last."""

    def maps(self, images: Tensor) -> Sequence[Tensor]:
        """The map (N, D, h, w) of each stage for normalised images (N, C, H, W)."""
        ...


def map_strides(module: nn.Module) -> tuple[int, ...]:
    """Pixels between neighbouring vectors of each stage's map, first to last. Raises EncoderError if the module gives no maps."""
    if isinstance(module, OffersMaps):
        return tuple(module.strides)
    if hasattr(module, "forward_intermediates") and (stages := getattr(module, "feature_info", None)):
        return tuple(int(stage["reduction"]) for stage in stages)
    raise EncoderError(
        f"The encoder {type(module).__name__} gives no feature maps: give it a method maps(images) that returns one (N, D, h, w) "
        "tensor per stage, and a list `strides` of their pixels per cell. Our ResNets and timm's CNNs and ViTs have them."
    )


def choose_stage(strides: Sequence[int], stage: int) -> int:
    """Index of a stage: 1 is the first, -1 the last, 0 the last one with a stride of at most `COARSEST` px. Raises EncoderError."""
    if not 0 < abs(stage) <= len(strides) and stage != 0:
        raise EncoderError(
            f"The encoder has {len(strides)} stages, with strides of {', '.join(map(str, strides))} px; there is no stage {stage}."
        )
    if stage == 0:
        return max((index for index, stride in enumerate(strides) if stride <= COARSEST), default=0)
    return stage - 1 if stage > 0 else len(strides) + stage


def compute_map(module: nn.Module, images: Tensor, index: int) -> Tensor:
    """The map (N, D, h, w) of the stage `index` for normalised images (N, C, H, W), whose sides are multiples of the strides.

    A vision transformer gives the tokens of its patches on their grid, after its last norm, without class and register tokens;
    its position embeddings are resampled to the images' size. Raises EncoderError if the network refuses these images.
    """
    if isinstance(module, OffersMaps):
        return module.maps(images)[index]
    network: Any = _sized(module, (images.shape[-2], images.shape[-1]))
    try:
        return network.forward_intermediates(images, indices=[index], norm=True, stop_early=True, intermediates_only=True)[0]  # fmt: skip
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        height, width = images.shape[-2:]
        raise EncoderError(
            f"{type(module).__name__} gives no maps of images of {height} x {width} px ({reason}). Choose another size."
        ) from error


def _sized(module: Any, size: tuple[int, int]) -> nn.Module:
    """The network for images of `size`, (height, width): itself, or a copy that shares its weights, with resampled position embeddings."""
    patches = getattr(module, "patch_embed", None)
    if not hasattr(module, "set_input_size") or tuple(getattr(patches, "img_size", None) or size) == size:
        return module
    shared = {id(parameter): parameter for parameter in module.parameters()}
    resized = copy.deepcopy(module, shared)
    resized.set_input_size(img_size=size)
    return resized
