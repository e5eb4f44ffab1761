"""The projector g and the predictor q: Linear, batch norm, ReLU, Linear (BYOL section 3.3)."""

from torch import nn

from byol.nets.initialization import initialize
from byol.nets.norm import Conventions, batch_norm_1d
from byol.nets.replace_norm import NormKind, replace_norm, standardize_weights


def mlp_head(
    inputs: int,
    hidden: int,
    outputs: int,
    conventions: Conventions = "torch",
    *,
    depth: int = 2,
    norm: NormKind = "batch",
    output_norm: bool = False,
    weight_standardization: bool = False,
) -> nn.Sequential:
    """MLP (N, inputs) -> (N, outputs). Hidden layers have a bias; the output layer has neither bias nor batch norm.

    `depth` is the number of linear layers (BYOL Table 14). `output_norm` normalises the output too, as SimCLR and
    SimSiam do.
    """
    layers: list[nn.Module] = []
    for width in [inputs, *[hidden] * (depth - 2)] if depth > 1 else []:
        layers += [nn.Linear(width, hidden), batch_norm_1d(hidden, conventions), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(hidden if depth > 1 else inputs, outputs, bias=False))
    if output_norm:
        layers.append(batch_norm_1d(outputs, conventions))
    head = nn.Sequential(*layers)
    initialize(head, conventions)
    replace_norm(head, norm, vectors=True)
    return standardize_weights(head) if weight_standardization else head  # pyright: ignore[reportReturnType]
