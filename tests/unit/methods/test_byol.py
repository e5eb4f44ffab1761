"""BYOL: four forwards, gradients, target, classifier, mixed precision."""

import copy

import pytest
import torch
from torch import nn

from byol.methods.byol import BYOL, Network
from byol.methods.losses import byol_loss
from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.runtime.view_roles import ViewBatch


def method(classifier: bool = False) -> BYOL:
    torch.manual_seed(0)
    network = Network(create_encoder("resnet18", width=0.125, image_size=32), mlp_head(64, 32, 16))
    predictor = mlp_head(16, 32, 16)
    head = nn.Linear(64, 3) if classifier else None
    return BYOL(network, predictor, mean=(0.5,) * 3, std=(0.25,) * 3, classifier=head)


VIEW1, VIEW2 = torch.rand(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).unbind(0)
VIEWS = ViewBatch((VIEW1,), (VIEW2,))


def test_forward_is_four_separate_forwards_of_normalised_views() -> None:
    m = method().double()
    v1, v2 = VIEW1.double(), VIEW2.double()
    by_hand = copy.deepcopy(m)
    n1, n2 = (v1 - 0.5) / 0.25, (v2 - 0.5) / 0.25
    (_, z1), (_, z2) = by_hand.online(n1), by_hand.online(n2)
    (_, t1), (_, t2) = by_hand.target(n1), by_hand.target(n2)
    expected = byol_loss(by_hand.predictor(z1), by_hand.predictor(z2), t1, t2)
    assert m(ViewBatch((v1,), (v2,))).loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_forward_target_gets_no_gradient_and_keeps_its_own_statistics() -> None:
    m = method()
    m(VIEWS).loss.backward()
    assert all(p.grad is None for p in m.target.parameters())
    assert all(p.grad is not None for p in m.online.parameters())
    statistics = m.target.get_buffer("encoder.bn1.running_mean")
    assert not torch.equal(statistics, torch.zeros_like(statistics))
    assert int(m.target.get_buffer("encoder.bn1.num_batches_tracked")) == 2


def test_target_starts_as_a_copy_and_moves_parameters_only() -> None:
    m = method()
    before = {name: t.clone() for name, t in m.target.state_dict().items()}
    assert all(torch.equal(t, m.online.state_dict()[name]) for name, t in before.items())
    with torch.no_grad():
        for p in m.online.parameters():
            p.add_(1.0)
        m.online.get_buffer("encoder.bn1.running_mean").fill_(9.0)
    m.update_target(0.75)
    for name, parameter in m.target.named_parameters():
        assert torch.allclose(parameter, before[name] + 0.25, atol=1e-6)
    for name, buffer in m.target.named_buffers():
        assert torch.equal(buffer, before[name])


def test_classifier_changes_no_other_gradient_bit() -> None:
    labels = torch.arange(8) % 3
    plain, with_head = method(), method(classifier=True)
    alone, both = plain(VIEWS, labels), with_head(VIEWS, labels)
    assert torch.equal(alone.loss, both.loss)
    assert both.classifier_loss is not None
    assert torch.equal(both.total, both.loss + both.classifier_loss)
    alone.total.backward()
    both.total.backward()
    assert with_head.classifier is not None
    assert with_head.classifier.weight.grad is not None
    for (name, p), (_, q) in zip(plain.online.named_parameters(), with_head.online.named_parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert torch.equal(p.grad, q.grad), name


def test_forward_under_bf16_autocast_has_a_float32_loss() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = method()(VIEWS)
    assert output.loss.dtype == torch.float32
    assert output.projection1.dtype == torch.bfloat16
