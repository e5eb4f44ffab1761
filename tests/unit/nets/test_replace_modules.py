"""Replacing modules of a network by others, or by the same of another class."""

import copy

import torch
from torch import nn

from byol.nets.replace_modules import replace_class, replace_modules


class Doubling(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def test_replace_modules_replaces_at_every_depth_and_not_inside_what_it_replaced() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 3)))

    def wrapped(module: nn.Module) -> nn.Module | None:
        return nn.Sequential(module) if type(module) is nn.Linear else None

    assert replace_modules(network, wrapped) == 2
    assert [name for name, _ in network.named_parameters()] == ["0.0.weight", "0.0.bias", "1.1.0.weight", "1.1.0.bias"]


def test_replace_class_keeps_parameters_names_mode_and_hooks() -> None:
    x, plain, outputs = torch.randn(4, 3), nn.Linear(3, 2).eval(), []
    expected = copy.deepcopy(plain)
    plain.register_forward_hook(lambda _, __, output: outputs.append(output))
    new = replace_class(plain, Doubling)
    assert torch.equal(new(x), 2 * expected(x))
    assert len(outputs) == 1 and not new.training
    assert new.weight is plain.weight and new.state_dict().keys() == plain.state_dict().keys()
