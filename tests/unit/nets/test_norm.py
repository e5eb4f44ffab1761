"""Batch norm over one rank or all."""

import pytest
import torch
from torch import nn

from byol.nets.encoder import create_encoder
from byol.nets.norm import (
    DeepMindBatchNorm,
    LocalBatchNorm2d,
    SynchronizedBatchNorm,
    set_newest_share,
    synchronize_batch_norm,
)


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


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, DeepMindBatchNorm])
def test_share_of_the_newest_batch_reaches_both_kinds_of_norm(kind: type[nn.Module]) -> None:
    norm, inputs = kind(3), torch.randn(2, 64, 3) + 2
    norm(inputs[0])
    before = norm.get_buffer("running_mean").clone()
    set_newest_share(norm, 0.02)
    torch.testing.assert_close(norm.get_buffer("running_mean"), before)
    norm(inputs[1])
    share = 0.02 if kind is nn.BatchNorm1d else 0.02 / (1 - 0.98**2)  # Haiku's averages forget that they began at 0
    expected = before + share * (inputs[1].mean(dim=0) - before)
    torch.testing.assert_close(norm.get_buffer("running_mean"), expected)
