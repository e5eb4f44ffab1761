"""Several processes compute what one computes."""

import pytest
import torch
from torch import distributed, nn

from byol.nets.encoder import create_encoder
from byol.nets.norm import Conventions, SynchronizedBatchNorm, batch_norm_1d, batch_norm_2d, synchronize_batch_norm
from tests.ranks import run_ranks


@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
def test_batch_norm_over_ranks_equals_one_process(conventions: Conventions) -> None:
    run_ranks(3, compare_batch_norm, conventions)


def compare_batch_norm(rank: int, conventions: Conventions) -> None:
    for shape, make in (((12, 5, 4, 3), batch_norm_2d), ((12, 5), batch_norm_1d)):
        torch.manual_seed(0)
        whole, part = make(5, conventions).double(), synchronize_batch_norm(make(5, conventions).double())
        rows = slice(4 * rank, 4 * rank + 4)
        for _ in range(3):  # each rank's own images differ in mean and spread
            data = torch.randn(shape, dtype=torch.float64) * torch.arange(1, 13).double().view(
                12, *[1] * (len(shape) - 1)
            )
            weight = torch.randn(shape, dtype=torch.float64)
            x, y = data.clone().requires_grad_(), data[rows].clone().requires_grad_()
            (whole(x).sin() * weight).sum().backward()
            (part(y).sin() * weight[rows]).sum().backward()
            assert x.grad is not None
            assert y.grad is not None
            assert torch.allclose(y.grad, x.grad[rows], atol=1e-12)
            assert torch.allclose(part(y), whole(x)[rows], atol=1e-12)
        for parameter, ours in zip(whole.parameters(), part.parameters(), strict=True):
            assert ours.grad is not None
            distributed.all_reduce(ours.grad)
            assert torch.allclose(ours.grad, parameter.grad, atol=1e-11)  # pyright: ignore[reportArgumentType]
        assert part.state_dict().keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            assert torch.allclose(part.state_dict()[name], value, atol=1e-12), name
        assert torch.allclose(part.eval()(data), whole.eval()(data), atol=1e-12)


def test_synchronize_batch_norm_keeps_names_and_weights() -> None:
    net = create_encoder("resnet18", width=0.125, image_size=32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert synchronize_batch_norm(net) is net
    assert not any(type(m) is nn.BatchNorm2d for m in net.modules())
    assert isinstance(net.get_submodule("layer1.0.bn1"), SynchronizedBatchNorm)
    assert {name: value.tolist() for name, value in net.state_dict().items()} == {
        n: v.tolist() for n, v in before.items()
    }
