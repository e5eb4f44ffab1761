"""Other normalisations: their definitions by hand, what is kept, standardised weights, starts from data."""

import pytest
import torch
from torch import nn

import byol
from byol.errors import ConfigError, EncoderError
from byol.nets.compiled.fused_norm import fuse_norms
from byol.nets.encoder import create_encoder
from byol.nets.heads import mlp_head
from byol.nets.initialization import initialize_from_data
from byol.nets.norm import LocalBatchNorm2d, SynchronizedBatchNorm, synchronize_batch_norm
from byol.nets.replace_norm import (
    ChannelAffineNorm,
    largest_divisor,
    replace_norm,
    standardize_weights,
)
from byol.optim.groups import split_parameters
from tests.conftest import SMALL
from tests.integration.test_ranks import PICTURES


@pytest.fixture(autouse=True)
def _one_thread(_two_threads: None) -> None:
    torch.set_num_threads(1)


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


def test_frozen_norm_needs_averages_to_keep() -> None:
    with pytest.raises(
        ConfigError, match=r"encoder\.norm frozen keeps the averages of weights to start from, and there are none"
    ):
        byol.pretrain(PICTURES, overrides={**SMALL, "encoder.norm": "frozen"})
    with pytest.raises(EncoderError, match=r"needs encoder.conventions torch"):
        create_encoder("resnet18", conventions="deepmind", norm="frozen")


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


@pytest.mark.parametrize("shape", [(1, 16), (1, 16, 1, 1)])
def test_batch_norm_over_ranks_refuses_one_value_per_channel_as_torch_does(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = SynchronizedBatchNorm(16)
    monkeypatch.setattr("byol.nets.norm.gather_with_gradient", lambda local: local[None])
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        norm(torch.ones(shape))
    assert norm.num_batches_tracked == 0
    assert norm(torch.ones(2, *shape[1:])).isfinite().all()
    monkeypatch.setattr("byol.nets.norm.gather_with_gradient", lambda local: torch.stack((local, local + 1)))
    assert norm(torch.ones(shape)).isfinite().all()  # two ranks have two together
    assert norm.eval()(torch.ones(shape)).isfinite().all()


def test_local_batch_norm_is_not_synchronised() -> None:
    net = create_encoder("resnet18", width=0.125, image_size=32, norm="local-batch")
    assert synchronize_batch_norm(net) == 0
    assert not any(isinstance(m, SynchronizedBatchNorm) for m in net.modules())
    assert sum(isinstance(m, LocalBatchNorm2d) for m in net.modules()) == 20


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


def test_initialize_from_data_standardises_every_layer_of_the_first_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), ChannelAffineNorm(8), nn.ReLU(), nn.Conv2d(8, 4, 3), ChannelAffineNorm(4)
    )
    images = 5 + 3 * torch.randn(16, 3, 12, 12)
    assert initialize_from_data(network, lambda: network(images)) == 2
    for end in (2, 5):
        out = network[:end](images)
        assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4)
        assert torch.allclose(out.std((0, 2, 3)), torch.ones(out.shape[1]), atol=1e-2)
    other = network(images[:4])  # what was set stays
    assert not torch.allclose(other.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"encoder.norm": "group", "encoder.weight_standardization": True, "heads.projector_norm": "group",
          "heads.predictor_norm": "layer", "heads.weight_standardization": True}, "parametrizations.weight.original"),
        ({"encoder.norm": "affine", "heads.projector_norm": "affine", "heads.predictor_norm": "affine",
          "method.data_init": True}, "bn1.weight"),
    ],
)  # fmt: skip
def test_run_with_other_norms_trains_and_its_encoder_loads(tmp_path, settings, state) -> None:
    run = byol.pretrain(
        PICTURES,
        "small",
        out=tmp_path / "run",
        epochs=1,
        overrides={**SMALL, "encoder.name": "resnet10", "batch_size": 32, **settings},
        say=lambda line: None,
    )
    assert run.finished
    encoder = byol.load(run.path)
    assert any(name.endswith(state) for name in encoder.module.state_dict())
    assert encoder(torch.zeros(2, 3, 32, 32)).isfinite().all()


def test_heads_depth_and_output_norm() -> None:
    assert [type(m).__name__ for m in mlp_head(4, 8, 2, depth=1)] == ["Linear"]
    deep = mlp_head(4, 8, 2, depth=3, output_norm=True)
    names = ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert [type(m).__name__ for m in deep] == names


def test_heads_of_either_convention_are_of_vectors() -> None:
    for conventions in ("torch", "deepmind"):
        with pytest.raises(EncoderError, match="Instance norm needs maps"):
            mlp_head(8, 64, 8, conventions, norm="instance")
        (group,) = (m for m in mlp_head(8, 64, 8, conventions, norm="group").modules() if isinstance(m, nn.GroupNorm))
        assert group.num_groups == 4  # 16 features each, at the least
