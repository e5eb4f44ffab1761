"""An encoder with the paper's head for segmentation: an FCN on a dilated map (BYOL appendix D.4)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from byol.encoder.encoder import EncoderDescription
from byol.encoder.encoder_file import rebuild
from byol.errors import EncoderError
from byol.nets.maps import COARSEST, OffersMaps, choose_stage, compute_map, map_strides

CHANNELS, DILATION = 256, 6
"""Width of the head, and dilation of its 3x3 convolutions."""


@dataclass(frozen=True)
class Trunk:
    """An encoder whose map of one stage is segmented."""

    module: nn.Module
    index: int
    """Index of the stage."""
    dilated: bool
    """Whether its last stages have dilation in place of their stride."""

    @property
    def stride(self) -> int:
        """Pixels between neighbouring vectors of the map."""
        return map_strides(self.module)[self.index]

    @property
    def multiple(self) -> int:
        """Number of px that the sides of its images are multiples of; 1 if they may have any side."""
        return 1 if isinstance(self.module, OffersMaps) else max(map_strides(self.module))


def dilated_trunk(module: nn.Module, description: EncoderDescription, stage: int = 0) -> Trunk:
    """The trunk with the weights of `module` and a stride of at most 16 px.

    The last stages have dilation in place of their stride, where they are coarser and our ResNets or timm's constructor can
    (`output_stride`); else the trunk is `module` as it is. `stage`: 1 is the first, -1 and 0 the last. Raises EncoderError if
    the network gives no maps or has no such stage.
    """
    strides = map_strides(module)
    index = choose_stage(strides, stage or -1)
    if strides[index] <= COARSEST:
        return Trunk(module, index, False)
    settings = {**description.settings, "pretrained": False, "output_stride": COARSEST}
    try:
        wide = rebuild(replace(description, settings=settings))
        wide.load_state_dict(module.state_dict())
    except (EncoderError, RuntimeError):  # a module of a user's own, or a network that timm cannot dilate
        return Trunk(module, index, False)
    return Trunk(wide, index, map_strides(wide)[index] < strides[index])


class SegmentationNetwork(nn.Module):
    """A trunk and a head: normalised images (N, C, H, W) -> scores (N, num_classes, h, w) of the cells of the trunk's map.

    The head is two 3x3 convolutions of 256 channels with dilation 6, batch norm and ReLU, then a 1x1 convolution.
    """

    def __init__(self, trunk: Trunk, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        self.trunk, self.index = trunk.module, trunk.index
        self.strides = (max(map_strides(trunk.module)),)
        """Number of px that the sides of whole images are multiples of."""
        device = next(trunk.module.parameters()).device
        with torch.no_grad():
            width = compute_map(
                self.trunk.eval(), torch.zeros(1, channels, side, side, device=device), self.index
            ).shape[1]
        layers: list[nn.Module] = []
        for inputs in (width, CHANNELS):
            convolution = nn.Conv2d(inputs, CHANNELS, 3, padding=DILATION, dilation=DILATION, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        classifier = nn.Conv2d(CHANNELS, num_classes, 1)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)  # pyright: ignore[reportArgumentType]
        self.head = nn.Sequential(*layers, classifier)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(compute_map(self.trunk, images, self.index))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The scores, as the map of the only stage."""
        return [self(images)]


def fit_to(trunk: Trunk, side: int) -> None:
    """Resamples, in place, position embeddings of a vision transformer to images of `side` x `side` px."""
    module: Any = trunk.module
    if hasattr(module, "set_input_size"):
        module.set_input_size(img_size=(side, side))
