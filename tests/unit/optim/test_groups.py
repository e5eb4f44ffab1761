"""Groups of parameters and the optimizers built on them."""

import pytest
import torch
from torch import nn

from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.optim.groups import create_optimizer, split_parameters


def test_split_parameters_excludes_biases_and_norms() -> None:
    model = nn.ModuleDict({"f": create_encoder("resnet18", width=0.125), "g": mlp_head(64, 8, 4), "n": nn.LayerNorm(4)})
    weights, excluded = split_parameters([("m", model)])
    assert all(p.dim() > 1 for p in weights.values())
    assert {"m.g.0.bias", "m.g.1.weight", "m.f.bn1.bias", "m.n.weight"} <= excluded.keys()
    assert {"m.g.0.weight", "m.g.3.weight", "m.f.layer4.1.conv2.weight"} <= weights.keys()
    assert len(weights) + len(excluded) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_create_optimizer_decays_weights_only(name) -> None:
    groups = create_optimizer([("m", nn.Linear(3, 2))], name, weight_decay=0.1).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert [p.dim() for g in groups for p in g["params"]] == [2, 1]


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_create_optimizer_rates_multiply_the_named_parts_alone(name) -> None:
    parts = [("online", nn.Linear(3, 2)), ("predictor", nn.Linear(2, 2))]
    optimizer = create_optimizer(parts, name, weight_decay=0.1, decay_all=True, rates={"predictor.": 10.0})
    found = [
        (g.get("rate_multiplier", 1.0), g["weight_decay"], [tuple(p.shape) for p in g["params"]])
        for g in optimizer.param_groups
    ]
    assert found == [(1.0, 0.1, [(2, 3)]), (1.0, 0.1, [(2,)]), (10.0, 0.1, [(2, 2)]), (10.0, 0.1, [(2,)])]


def test_split_parameters_excludes_layer_scales() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(4))

    assert split_parameters([("m", Scaled())])[1].keys() == {"m.gamma"}
