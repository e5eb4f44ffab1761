"""Groups of parameters and the optimizers built on them."""

import pytest
import timm
import torch
from torch import nn

from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.optim.groups import create_optimizer, describe_groups, split_parameters


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
            self.slope = nn.PReLU(4)

    assert split_parameters([("m", Scaled())])[1].keys() == {"m.gamma", "m.slope.weight"}


def excluded_of(encoder: nn.Module) -> set[str]:
    return {name.removeprefix("encoder.") for name in split_parameters([("encoder", encoder)])[1]}


def test_split_parameters_excludes_vectors_of_several_dimensions() -> None:
    for name, kind in (("fastvit_t8", "gamma"), ("nf_regnet_b0", "gain")):
        with torch.device("meta"):
            encoder = timm.create_model(name, num_classes=0)
        vectors = {n for n, p in encoder.named_parameters() if n.endswith(kind) and p.dim() > 1}
        assert vectors and vectors <= excluded_of(encoder)


def test_split_parameters_excludes_what_timm_lists() -> None:
    for name, size in (("vit_tiny_patch16_224", 32), ("swin_tiny_patch4_window7_224", 224)):
        with torch.device("meta"):
            encoder = timm.create_model(name, num_classes=0, img_size=size)
        named = {n for n, _ in encoder.named_parameters() if n in encoder.no_weight_decay()}
        assert named and named <= excluded_of(encoder)
        assert "patch_embed.proj.weight" not in excluded_of(encoder)


def test_narrow_layers_and_the_papers_resnets_are_decayed() -> None:
    assert split_parameters([("m", nn.Conv2d(1, 4, 1))])[0].keys() == {"m.weight"}
    encoder = create_encoder("resnet18", width=0.125)
    by_dimension = {name for name, p in encoder.named_parameters() if p.dim() <= 1}
    assert excluded_of(encoder) == by_dimension


def test_describe_groups_names_what_is_excluded() -> None:
    with torch.device("meta"):
        encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)
    weights, excluded = split_parameters([("encoder", encoder)])
    assert describe_groups([("encoder", encoder)]) == (
        f"weight decay on {len(weights)} tensors, none on {len(excluded)} (bias, cls_token, pos_embed, norm weight)"
    )
    assert describe_groups([("m", nn.Linear(2, 3))], decay_all=True) == "weight decay on all 2 tensors"
