"""BYOL: what it computes, what gets gradients, what the target does."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from byol.errors import EncoderError
from byol.methods.byol import BYOL, Network
from byol.methods.losses import byol_loss, regression_loss
from byol.nets.encoder import create_encoder, find_num_features, pretrained_normalization
from byol.nets.heads import mlp_head


def method(classifier: bool = False) -> BYOL:
    torch.manual_seed(0)
    network = Network(create_encoder("resnet18", width=0.125, image_size=32), mlp_head(64, 32, 16))
    predictor = mlp_head(16, 32, 16)
    head = nn.Linear(64, 3) if classifier else None
    return BYOL(network, predictor, mean=(0.5,) * 3, std=(0.25,) * 3, classifier=head)


VIEW1, VIEW2 = torch.rand(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).unbind(0)


def test_regression_loss_hand_values() -> None:
    x = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1e-9, 0.0]])
    y = torch.tensor([[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 0.0]])
    assert regression_loss(x, y).tolist() == pytest.approx([0.0, 2.0, 4.0, (1 - 1e-3) ** 2], abs=1e-6)


def test_byol_loss_is_the_sum_of_both_directions() -> None:
    p1, p2, t1, t2 = torch.randn(4, 6, 5).unbind(0)
    expected = (4 - 2 * torch.cosine_similarity(p1, t2) - 2 * torch.cosine_similarity(p2, t1)).mean()
    assert float(byol_loss(p1, p2, t1, t2)) == pytest.approx(float(expected), abs=1e-5)
    assert float(byol_loss(p1, p2, -p2, -p1)) == pytest.approx(8.0, abs=1e-5)


def test_forward_is_four_separate_forwards_of_normalised_views() -> None:
    m = method().double()
    v1, v2 = VIEW1.double(), VIEW2.double()
    by_hand = copy.deepcopy(m)
    n1, n2 = (v1 - 0.5) / 0.25, (v2 - 0.5) / 0.25
    (_, z1), (_, z2) = by_hand.online(n1), by_hand.online(n2)
    (_, t1), (_, t2) = by_hand.target(n1), by_hand.target(n2)
    expected = byol_loss(by_hand.predictor(z1), by_hand.predictor(z2), t1, t2)
    assert m(v1, v2).loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_forward_target_gets_no_gradient_and_keeps_its_own_statistics() -> None:
    m = method()
    m(VIEW1, VIEW2).loss.backward()
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
    alone, both = plain(VIEW1, VIEW2, labels), with_head(VIEW1, VIEW2, labels)
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


def test_heads_hidden_has_a_bias_and_output_has_none() -> None:
    head = mlp_head(10, 20, 5)
    assert [name for name, _ in head.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight"]


@pytest.mark.parametrize(
    ("name", "features"),
    [("resnet18", 512), ("resnet50", 2048), ("vit_tiny_patch16_224", 192), ("mobilenetv3_small_050", 1024)],
)
def test_encoder_width_is_found(name: str, features: int) -> None:
    assert find_num_features(create_encoder(name, image_size=64, in_channels=1), 1, 64) == features


def test_encoder_with_unknown_weights_is_one_sentence() -> None:
    with pytest.raises(EncoderError, match=r"timm has no weights 'resnet50.a1_in1'. Did you mean 'resnet50.a1_in1k'"):
        create_encoder("resnet50.a1_in1", pretrained=True)
    with pytest.raises(EncoderError, match=r"timm has no weights 'resnet50.a1_in1'"):
        pretrained_normalization("resnet50.a1_in1")


def test_encoder_resnet_takes_torchvisions_weights() -> None:
    from torchvision.models import resnet50

    theirs = resnet50()
    theirs.fc = nn.Identity()
    ours = create_encoder("resnet50")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_encoder_width_multiplies_every_channel() -> None:
    wide = create_encoder("resnet50", width=2)
    assert wide.num_features == 4096
    assert sum(p.numel() for p in wide.parameters()) == pytest.approx(94e6, rel=0.01)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 9), dimension=st.integers(1, 33), seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]), exponent=st.integers(-5, 4),
)  # fmt: skip
def test_losses_any_dtype_shape_and_scale(
    count: int, dimension: int, seed: int, dtype: torch.dtype, exponent: int
) -> None:
    """In range, computed in float32 at least, and blind to the length of the vectors (lengths above the clamp)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64).unbind(0)
    x, y = (v + v.sign() * 0.1 for v in (x, y))
    found = regression_loss((x * 10.0**exponent).to(dtype), y.to(dtype))
    assert found.shape == (count,)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 4 + 1e-5
    expected = 2 - 2 * torch.cosine_similarity((x * 10.0**exponent).to(dtype).double(), y.to(dtype).double())
    assert torch.allclose(found.double(), expected, atol=2e-6 if dtype != torch.float64 else 1e-12)


def test_l2_normalize_zero_vector_is_zero_with_a_finite_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    regression_loss(x, torch.ones(2, 4)).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_forward_under_bf16_autocast_has_a_float32_loss() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = method()(VIEW1, VIEW2)
    assert output.loss.dtype == torch.float32
    assert output.projection1.dtype == torch.bfloat16
