"""The compiled LARS equals torch's."""

import torch
from torch import Tensor, nn

from byol.optim.lars import LARS
from tests.closeness import relative_error


def test_fused_lars_equals_torchs() -> None:
    torch.manual_seed(0)
    shapes = [(40, 30), (7,), (16, 8, 3, 3), (50_001,), (4, 4)]

    def run(fused: bool) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        weights[2] = nn.Parameter(weights[2].detach().contiguous(memory_format=torch.channels_last))
        weights[4] = nn.Parameter(torch.zeros(4, 4))  # its norm is 0
        groups = [
            {"params": weights[:3] + weights[4:], "adapt": True, "weight_decay": 1e-2},
            {"params": weights[3:4], "adapt": False},
        ]
        optimizer = LARS(groups, lr=0.3, fused=fused)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        return [*(w.detach() for w in weights), *(optimizer.state[w]["momentum_buffer"] for w in weights)]

    for found, expected in zip(run(True), run(False), strict=True):
        assert relative_error(found, expected) < 1e-6


def test_fused_lars_does_not_depend_on_the_number_of_threads() -> None:
    def run(threads: int) -> Tensor:
        torch.set_num_threads(threads)
        weight = nn.Parameter(torch.arange(100_000.0).sin())
        weight.grad = torch.arange(100_000.0).cos()
        LARS([weight], lr=0.3, fused=True).step()
        return weight.detach()

    assert torch.equal(run(1), run(2))
