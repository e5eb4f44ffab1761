"""Relatives of BYOL in one class: targets, predictors, further views, and the table of methods."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from byol.assembly.networks import METHODS, build_method
from byol.config import Config, replaced
from byol.methods.byol import BYOL
from byol.methods.contrastive import nt_xent
from byol.methods.losses import byol_loss, normalized_loss, simsiam_loss
from byol.methods.network import MethodOutput, Network
from byol.methods.siamese import PairLoss, PairMethod, TargetKind, least_squares
from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.runtime.view_roles import ViewBatch
from tests.conftest import SMALL

VIEW1, VIEW2 = torch.rand(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double().unbind(0)
VIEWS = ViewBatch((VIEW1,), (VIEW2,))


TINY = {
    **SMALL, "encoder.name": "resnet10", "encoder.width": 0.0625, "views.size": 16, "views.mean": (0.5,), "views.std": (0.25,),
}  # fmt: skip


BYOL_LOSS = partial(normalized_loss, normalization="l2")


def parts() -> tuple[Network, nn.Module]:
    torch.manual_seed(0)
    return Network(create_encoder("resnet10", width=0.0625, image_size=32), mlp_head(32, 32, 16)), mlp_head(16, 32, 16)


def siamese(loss: PairLoss, target: TargetKind, predictor: str = "mlp") -> PairMethod:
    network, mlp = parts()
    chosen = {"mlp": mlp, "none": None, "least-squares": "least-squares"}[predictor]
    return PairMethod(network, chosen, loss, target=target, mean=(0.5,) * 3, std=(0.25,) * 3).double()  # pyright: ignore


def built(**settings) -> nn.Module:
    config = replaced(Config(), {**TINY, **settings})
    return build_method(config, 3)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_siamese_with_byols_parts_computes_byol() -> None:
    """Loss, every gradient, every average and the moved target: the same bits."""
    network, predictor = parts()
    theirs = BYOL(network, predictor, mean=(0.5,) * 3, std=(0.25,) * 3).double()
    ours = siamese(BYOL_LOSS, "average")
    for made in (theirs, ours):
        made(VIEWS).loss.backward()
        with torch.no_grad():
            for p in made.online.parameters():
                p.sub_(0.1 * p.grad)
        made.update_target(0.9)
    assert gradients(ours).keys() == gradients(theirs).keys()
    assert all(torch.equal(g, gradients(theirs)[name]) for name, g in gradients(ours).items())
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_simclr_is_nt_xent_of_both_projections_with_gradient_to_both() -> None:
    m = siamese(partial(nt_xent, temperature=0.5), "online", "none")
    n1, n2 = (VIEW1 - 0.5) / 0.25, (VIEW2 - 0.5) / 0.25
    weights = list(m.online.parameters())
    expected = nt_xent(m.online(n1)[1], m.online(n2)[1], temperature=0.5)
    found = m(VIEWS).loss
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    for a, b in zip(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    assert m.target is None
    assert list(m.predictor.parameters()) == []


@pytest.mark.parametrize("target", ["stop-gradient", "online"])
def test_stop_gradient_keeps_the_value_and_halves_the_paths(target: TargetKind) -> None:
    """The gradient with a stop is that of the loss whose targets are constants."""
    m = siamese(simsiam_loss, target)
    n1, n2 = (VIEW1 - 0.5) / 0.25, (VIEW2 - 0.5) / 0.25
    z1, z2 = m.online(n1)[1], m.online(n2)[1]
    targets = (z1.detach(), z2.detach()) if target == "stop-gradient" else (z1, z2)
    weights = [p for p in m.parameters() if p.requires_grad]
    expected = torch.autograd.grad(simsiam_loss(m.predictor(z1), m.predictor(z2), *targets), weights)
    found = torch.autograd.grad(m(VIEWS).loss, weights)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_fixed_target_never_moves_and_is_another_network() -> None:
    m = built(**{"method.target": "fixed"})
    assert isinstance(m, PairMethod)
    assert m.target is not None
    before = {name: p.clone() for name, p in m.target.named_parameters()}
    assert not torch.equal(before["encoder.conv1.weight"], m.online.encoder.get_parameter("conv1.weight"))
    m.update_target(0.0)
    assert all(torch.equal(p, before[name]) for name, p in m.target.named_parameters())


def test_least_squares_equals_numpys_and_beats_any_other_map() -> None:
    import numpy as np

    generator = torch.Generator().manual_seed(3)
    inputs, outputs = torch.randn(20, 5, generator=generator), torch.randn(20, 4, generator=generator)
    best = least_squares(inputs.double(), outputs.double())
    expected = np.linalg.lstsq(inputs.double().numpy(), outputs.double().numpy(), rcond=None)[0]
    assert torch.allclose(best, torch.from_numpy(expected))
    residual = (inputs.double() @ best - outputs).square().sum()
    moved = best + 0.01 * torch.randn(5, 4, generator=generator)
    assert (inputs.double() @ moved - outputs).square().sum() > residual


def test_least_squares_predictor_is_solved_on_both_directions_without_gradient() -> None:
    m = siamese(BYOL_LOSS, "stop-gradient", "least-squares")
    n1, n2 = (VIEW1 - 0.5) / 0.25, (VIEW2 - 0.5) / 0.25
    z1, z2 = m.online(n1)[1], m.online(n2)[1]
    t1, t2 = z1.detach(), z2.detach()
    best = torch.linalg.pinv(torch.cat((t1, t2)), rtol=1e-5) @ torch.cat((t2, t1))
    expected = torch.autograd.grad(byol_loss(z1 @ best, z2 @ best, t1, t2), list(m.online.parameters()))
    found = torch.autograd.grad(m(VIEWS).loss, list(m.online.parameters()))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(found, expected, strict=True))


def test_others_small_views_predict_both_targets_and_the_mean_is_taken() -> None:
    m = siamese(BYOL_LOSS, "average").eval()  # eval: forwards do not disturb each other
    small = torch.rand(8, 3, 8, 8, dtype=torch.float64)
    output: MethodOutput = m(replace(VIEWS, small=(small,)))
    assert m.target is not None
    n1, n2, n3 = ((v - 0.5) / 0.25 for v in (VIEW1, VIEW2, small))
    t1, t2, p3 = m.target(n1)[1], m.target(n2)[1], m.predictor(m.online(n3)[1])
    expected = (m(VIEWS).loss + byol_loss(p3, p3, t1, t2)) / 2
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("target", ["average", "online", "stop-gradient"])
def test_others_replace_and_average_what_the_target_sees(target: TargetKind) -> None:
    m = siamese(BYOL_LOSS, target).eval()
    extra = torch.rand(4, 8, 3, 16, 16, dtype=torch.float64)
    output = m(replace(VIEWS, targets1=(extra[0], extra[1]), targets2=(extra[2],)))
    network = m.target if m.target is not None else m.online
    n = (extra - 0.5) / 0.25
    unit = [z / z.norm(dim=1, keepdim=True) for z in (network(n[0])[1], network(n[1])[1])]
    t1, t2 = (unit[0] + unit[1]) / 2, network(n[2])[1]
    z1, z2 = (m.online((v - 0.5) / 0.25)[1] for v in (VIEW1, VIEW2))
    expected = byol_loss(m.predictor(z1), m.predictor(z2), t1, t2)
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-10)


def test_method_table_builds_each_and_the_papers_byol_is_its_own_class() -> None:
    kinds = {name: type(built(**{"method.name": name})) for name in METHODS}
    assert kinds == {"byol": BYOL, "simsiam": PairMethod, "simclr": PairMethod, "infonce": PairMethod}
    assert type(built(**{"method.loss_normalization": "layer"})) is PairMethod
    assert type(built(**{"heads.predictor": "linear"})) is BYOL
    assert [n for n, _ in built(**{"heads.predictor": "linear"}).predictor.named_parameters()] == ["0.weight"]


@pytest.mark.parametrize("name", list(METHODS))
def test_every_combination_gives_a_finite_loss_and_gradient(name: str) -> None:
    for target, predictor in itertools.product(
        ("average", "fixed", "stop-gradient", "online"), ("mlp", "linear", "least-squares", "none")
    ):
        m = built(**{"method.name": name, "method.target": target, "heads.predictor": predictor})
        assert m.has_average == (target == "average")
        output = m(VIEWS.map(Tensor.float))
        output.loss.backward()
        found = [p.grad for p in m.online.parameters()]
        assert all(g is not None and bool(g.isfinite().all()) for g in found), (target, predictor)
        assert output.projection1.shape == output.target2.shape == (8, 16)


@pytest.mark.parametrize(
    ("corner", "bridge", "scale", "shift"),
    [
        ({"method.name": "byol"}, {"method.beta": 0.0}, 1.0, -4.0),
        (
            {"method.name": "simclr", "method.temperature": 0.3},
            {"method.beta": 1.0, "method.temperature": 0.3, "heads.predictor": "none", "method.target": "online"},
            4 * 0.3,
            0.0,
        ),
    ],
)
def test_configured_bridge_has_byol_and_simclr_as_corners(
    corner: dict, bridge: dict, scale: float, shift: float
) -> None:
    """Loss and gradients of the methods as a config makes them, from the same weights (section 5 of BYOL, appendix F.4)."""
    theirs, ours = built(**corner).double(), built(**{"method.name": "infonce", **bridge}).double()
    expected, found = (m.train()(VIEWS).loss for m in (theirs, ours))
    assert found.item() == pytest.approx(scale * expected.item() + shift, abs=1e-6)
    expected.backward()
    found.backward()
    assert gradients(ours).keys() == gradients(theirs).keys() != set()
    for name, gradient in gradients(ours).items():
        assert torch.allclose(gradient, scale * gradients(theirs)[name], atol=1e-6), name
