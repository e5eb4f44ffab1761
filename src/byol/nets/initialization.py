"""Initial weights as torchvision or DeepMind (Haiku) draws them, or set from data."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from byol.nets.norm import Conventions
from byol.nets.replace_norm import ChannelAffineNorm


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


@torch.no_grad()
def initialize_from_data(network: nn.Module, run: Callable[[], object]) -> int:
    """Sets every scale and shift in `network` so that outputs of `run` have mean 0 and variance 1 per channel.

    `run` makes one forward; each layer is set before the next one receives its output. Running averages are those of
    that forward. Returns how many normalisations were set; batch norm is left out, since its output is standardised
    already. Differs from the paper: scales and shifts start at 1 and 0 there.
    """

    def set_from(part: nn.Module, _: object, output: Tensor) -> Tensor:
        dims = [d for d in range(output.dim()) if d != 1]
        values = output.float() if output.dtype != torch.float64 else output
        var, mean = torch.var_mean(values, dim=dims, correction=0)
        scale = torch.rsqrt(var + 1e-5)
        weight, bias = part.get_parameter("weight"), part.get_parameter("bias")
        weight.mul_(scale)  # s (w x + b - m): the shift is applied first
        bias.sub_(mean).mul_(scale)
        shape = (1, -1, *[1] * (output.dim() - 2))
        return ((values - mean.view(shape)) * scale.view(shape)).to(output.dtype)

    kinds = (nn.GroupNorm, ChannelAffineNorm)
    parts = [part for part in network.modules() if isinstance(part, kinds) and part.weight is not None]
    hooks = [part.register_forward_hook(set_from) for part in parts]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return len(parts)
