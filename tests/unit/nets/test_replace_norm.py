"""Other normalisations in place of batch norm; standardised weights."""

import pytest
import torch
from torch import nn

from byol.errors import EncoderError
from byol.nets.compiled.fused_norm import fuse_norms
from byol.nets.encoder import create_encoder
from byol.nets.norm import synchronize_batch_norm
from byol.nets.replace_norm import (
    largest_divisor,
    replace_norm,
    standardize_weights,
)
from byol.optim.groups import split_parameters

MAPS = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def replaced(kind, groups: int = 32) -> nn.Module:
    network = nn.Sequential(nn.BatchNorm2d(6))
    replace_norm(network, kind, groups)
    return network[0].double()


def test_replace_norm_hand_values() -> None:
    def standard(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        return (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()

    grouped = standard(MAPS.view(4, 3, 2, 5, 5), (2, 3, 4)).view_as(MAPS)
    for kind, expected in (
        ("batch", standard(MAPS, (0, 2, 3))),
        ("local-batch", standard(MAPS, (0, 2, 3))),
        ("group", grouped),  # 6 channels: at most 3 groups of 2
        ("layer", standard(MAPS, (1, 2, 3))),
        ("instance", standard(MAPS, (2, 3))),
        ("affine", MAPS),
        ("none", MAPS),
    ):
        assert torch.allclose(replaced(kind)(MAPS), expected, atol=1e-10), kind


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet"])  # the second holds activations in its norms
def test_frozen_norm_is_batch_norm_in_eval_mode_and_keeps_its_averages(name: str) -> None:
    torch.manual_seed(0)
    plain, images = create_encoder(name, image_size=32, stem="imagenet"), torch.randn(4, 3, 32, 32)
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)  # pyright: ignore[reportArgumentType]
    plain.eval()
    frozen = create_encoder(name, image_size=32, stem="imagenet", norm="frozen")
    frozen.load_state_dict(plain.state_dict())
    frozen.train()
    assert torch.allclose(frozen(images), plain(images), atol=1e-5)
    frozen(images).sum().backward()
    assert all(parameter.grad is not None for parameter in frozen.parameters())
    synchronize_batch_norm(frozen)
    fuse_norms(frozen)
    frozen(images)
    for key, kept in plain.state_dict().items():
        assert torch.equal(frozen.state_dict()[key], kept), key


def test_replace_norm_of_vectors_standardises_each_and_refuses_instance() -> None:
    x = torch.randn(3, 32)
    layer, group = nn.Sequential(nn.BatchNorm1d(32)), nn.Sequential(nn.BatchNorm1d(32))
    assert replace_norm(layer, "layer") == replace_norm(group, "group") == 1
    assert torch.allclose(layer(x), nn.functional.layer_norm(x, (32,)), atol=1e-5)
    assert isinstance(group[0], nn.GroupNorm)
    assert group[0].num_groups == 2  # 16 features each
    with pytest.raises(EncoderError, match="needs maps"):
        replace_norm(nn.Sequential(nn.BatchNorm1d(32)), "instance")


def test_replace_norm_keeps_scale_and_shift_and_uses_no_chance() -> None:
    torch.manual_seed(5)
    whole = create_encoder("resnet18", width=0.125, image_size=32, zero_init_residual=True, norm="group")
    after = torch.rand(1)
    torch.manual_seed(5)
    batch = create_encoder("resnet18", width=0.125, image_size=32, zero_init_residual=True)
    assert torch.equal(torch.rand(1), after)
    assert dict(whole.named_parameters()).keys() == dict(batch.named_parameters()).keys()
    assert all(torch.equal(p, batch.get_parameter(name)) for name, p in whole.named_parameters())
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in whole.modules())
    decayed, _ = split_parameters([("encoder", whole)])
    assert not any("bn" in name for name in decayed)


@pytest.mark.parametrize("kind", ["group", "none", "affine"])
def test_replace_norm_in_timm_keeps_the_activation(kind) -> None:
    encoder = create_encoder("efficientnet_lite0", image_size=32, norm=kind)
    assert sum(isinstance(m, nn.ReLU6) for m in encoder.modules()) > 20
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 1280)


@pytest.mark.parametrize(("number", "most", "expected"), [(64, 32, 32), (6, 4, 3), (7, 6, 1), (12, 5, 4), (8, 1, 1)])
def test_largest_divisor(number: int, most: int, expected: int) -> None:
    assert largest_divisor(number, most) == expected


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3, bias=False), nn.Linear(9, 5)])
def test_standardize_weights_rows_have_mean_0_and_deviation_1(layer: nn.Module) -> None:
    with torch.no_grad():
        layer.get_parameter("weight").mul_(3).add_(1)
    made = standardize_weights(layer)
    rows = made.weight.flatten(1)  # pyright: ignore
    assert torch.allclose(rows.mean(1), torch.zeros(len(rows)), atol=1e-5)
    assert torch.allclose(rows.std(1, correction=0), torch.ones(len(rows)), atol=1e-3)
    original = made.get_parameter("parametrizations.weight.original")
    made(torch.rand(2, 3, 8, 8) if isinstance(layer, nn.Conv2d) else torch.rand(2, 9)).square().sum().backward()
    assert original.grad is not None
    across = original.grad.flatten(1).sum(1)  # a constant added to a row changes nothing
    assert torch.allclose(across, torch.zeros(len(across)), atol=1e-3)
