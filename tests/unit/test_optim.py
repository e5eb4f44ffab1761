"""Schedules, LARS and parameter groups: hand values and invariants."""

import itertools
import math

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from byol.engine.step import Schedule
from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.optim.groups import create_optimizer, describe_groups, split_parameters
from byol.optim.lars import LARS
from byol.optim.schedules import learning_rate, scale_tau, target_tau, total_steps


def test_total_steps_paper_values() -> None:
    assert [total_steps(e, 1281167, 4096) for e in (10, 100, 300, 1000)] == [3127, 31278, 93835, 312784]
    assert all(total_steps(k * 37 / 1001, 1001, 37) == k for k in range(1, 500))


def test_learning_rate_hand_values() -> None:
    rate = {k: learning_rate(k, base=0.2, batch_size=512, total=110, warmup=10) for k in (0, 5, 10, 60, 110, 200)}
    assert rate == pytest.approx({0: 0.0, 5: 0.2, 10: 0.4, 60: 0.2, 110: 0.0, 200: 0.0}, abs=1e-12)


def test_target_tau_hand_values() -> None:
    tau = [target_tau(k, base=0.99, total=100) for k in (0, 50, 100, 150)]
    assert tau == pytest.approx([0.99, 0.995, 1.0, 1.0], abs=1e-12)


def test_scale_tau_is_the_papers_own_step_to_batch_512() -> None:
    assert scale_tau(0.996, 512, 4096) == pytest.approx(0.9995, abs=5e-6)  # appendix G
    assert scale_tau(0.99, 256, 4096) == pytest.approx(0.999372, abs=1e-6)
    assert scale_tau(0.0, 128, 256) == 0.0
    assert Schedule(0.3, 512, 100, 10, 0.996, tau_reference_batch=4096).tau(0) == pytest.approx(0.9995, abs=5e-6)
    assert Schedule(0.3, 512, 100, 10, 0.996).tau(0) == pytest.approx(0.996)


def test_lars_one_step_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    weight.grad = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    optimizer = LARS([weight], lr=0.5, weight_decay=0.5, trust_coefficient=0.1)
    optimizer.step()
    decayed = torch.tensor([[1.5, 4.0]], dtype=torch.float64)
    step = decayed * 0.1 * 5 / math.sqrt(1.5**2 + 4**2)
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 4.0]], dtype=torch.float64) - 0.5 * step, atol=1e-14)


def test_lars_scaled_loss_moves_adapted_weights_alike() -> None:
    def moved(scale: float) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(2, 3))
        weight.grad = scale * torch.arange(6.0).view(2, 3)
        LARS([weight], lr=1.0).step()
        return weight.detach()

    assert torch.allclose(moved(1.0), moved(7.0))


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


def test_train_step_sets_every_groups_own_rate() -> None:
    from byol.build.networks import build_method
    from byol.build.training import build_state as first_state
    from byol.config import Config, override
    from byol.data.loader import Batch
    from byol.engine.micro_batches import make_views
    from byol.engine.step import Schedule, train_step
    from byol.engine.wrap import wrap
    from byol.runtime.ranks import Ranks
    from byol.views.policy import T
    from byol.views.two_views import TwoViews
    from tests.conftest import SMALL

    rates = {"optimizer.encoder_rate": 0.5, "optimizer.projector_rate": 0.0, "optimizer.predictor_rate": 3.0}
    plain = {"encoder.name": "resnet10", "views.mean": (0.5,), "views.std": (1.0,), "optimizer.name": "sgd"}
    config = override(Config(), {**SMALL, **plain, "optimizer.momentum": 0.0, **rates})
    made, device = build_method(config, 3), torch.device("cpu")
    state = first_state(config, made, device, Ranks())
    before = {name: p.clone() for name, p in made.named_parameters()}
    batch = Batch(0, 0, torch.randint(0, 255, (8, 3, 16, 16), dtype=torch.uint8), False, None)
    wrapped = wrap(made, device, bf16=False, channels_last=False)
    made_views = make_views(batch, TwoViews(T, T, 16, 8, 0), device)
    train_step(state, [made_views], 1, wrapped, Schedule(0.5, 256, 10, 0, 0.9))
    rate_of = {id(p): g["lr"] for g in state.optimizer.param_groups for p in g["params"]}
    found = {
        part: {rate_of[id(p)] for p in module.parameters()}
        for part, module in (("f", made.online.encoder), ("g", made.online.projector), ("q", made.predictor))
    }
    assert found == {"f": {0.25}, "g": {0.0}, "q": {1.5}}
    moved = {
        name.split(".")[0] + name.split(".")[1]
        for name, p in made.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert "onlineprojector" not in moved
    assert {"onlineencoder", "predictor0", "targetencoder"} <= moved


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    total=st.integers(2, 5000),
    share=st.floats(0, 0.9),
    base=st.floats(1e-3, 10),
    batch=st.sampled_from([16, 256, 4096]),
)
def test_schedules_rise_then_fall_and_tau_only_rises(total: int, share: float, base: float, batch: int) -> None:
    warmup = int(share * total)
    rates = [learning_rate(k, base=base, batch_size=batch, total=total, warmup=warmup) for k in range(total + 1)]
    peak = base * batch / 256
    assert rates[warmup] == pytest.approx(peak)
    assert max(rates) <= peak * (1 + 1e-12)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert all(a <= b for a, b in itertools.pairwise(rates[: warmup + 1]))
    assert all(a >= b for a, b in itertools.pairwise(rates[warmup:]))
    taus = [target_tau(k, base=min(base, 1.0), total=total) for k in range(total + 1)]
    assert all(a <= b + 1e-15 for a, b in itertools.pairwise(taus))
    assert taus[-1] == pytest.approx(1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float64, torch.float32]), zero=st.sampled_from(["none", "weight", "gradient"]),
)  # fmt: skip
def test_lars_any_shapes_equal_the_formula(shapes: list[list[int]], dtype: torch.dtype, zero: str) -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
    gradients = [torch.randn_like(w) for w in weights]
    if zero == "weight":
        weights[0].data.zero_()
    if zero == "gradient":
        gradients[0].zero_()
    expected = [w.detach().clone() for w in weights]
    momenta = [torch.zeros_like(w) for w in weights]
    optimizer = LARS(weights, lr=0.3, momentum=0.8, weight_decay=0.0, trust_coefficient=0.05)
    for _ in range(2):
        for w, g in zip(weights, gradients, strict=True):
            w.grad = g.clone()
        optimizer.step()
        for e, g, m in zip(expected, gradients, momenta, strict=True):
            norms = float(e.norm()), float(g.norm())
            ratio = 0.05 * norms[0] / norms[1] if min(norms) > 0 else 1.0
            m.mul_(0.8).add_(g * ratio)
            e.sub_(0.3 * m)
    for w, e in zip(weights, expected, strict=True):
        assert torch.allclose(w.detach(), e, atol=1e-5 if dtype == torch.float32 else 1e-12)


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
