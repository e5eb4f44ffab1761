"""The projector g and the predictor q: Linear, batch norm, ReLU, Linear (BYOL section 3.3)."""

from torch import nn

from byol.nets.initialization import initialize
from byol.nets.norm import Conventions, batch_norm_1d


def mlp_head(inputs: int, hidden: int, outputs: int, conventions: Conventions = "torch") -> nn.Sequential:
    """(N, inputs) -> (N, outputs). The hidden layer has a bias, the output layer has none and no batch norm."""
    head = nn.Sequential(
        nn.Linear(inputs, hidden),
        batch_norm_1d(hidden, conventions),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, bias=False),
    )
    initialize(head, conventions)
    return head
