"""Initial weights as torchvision or as DeepMind (Haiku) draws them."""

import torch
from torch import nn

from byol.nets.norm import Conventions


@torch.no_grad()
def initialize(module: nn.Module, conventions: Conventions) -> None:
    """Draws the weights of all convolutions and linear layers in place, from torch's global generator.

    torch: convolutions Kaiming normal over fan-out, linear layers as torch leaves them.
    deepmind: normal of standard deviation 1/sqrt(fan-in), cut at two of them and not rescaled; biases 0.
    """
    for part in module.modules():
        if conventions == "deepmind" and isinstance(part, nn.Conv2d | nn.Linear):
            std = part.weight[0].numel() ** -0.5
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif conventions == "torch" and isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
