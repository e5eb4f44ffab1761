"""A training with all compiled operators against torch's in float64."""

import copy

import pytest
import torch
from torch import Tensor

from byol.methods.byol import BYOL, Network
from byol.nets.compiled.fused_norm import fuse_norms
from byol.nets.heads import mlp_head
from byol.nets.norm import Conventions
from byol.nets.resnet import ResNet
from byol.optim.groups import create_optimizer
from byol.runtime.view_roles import ViewBatch
from tests.closeness import relative_error


@pytest.mark.parametrize("conventions", ["torch", "deepmind"])
def test_training_with_fused_operators_in_float32_equals_torchs_in_float64(conventions: Conventions) -> None:
    """Four steps of BYOL with LARS on a ResNet-10: losses, weights, target, averages. torch's float32 is held to the same."""
    torch.manual_seed(0)
    network = Network(ResNet(10, width=0.25, stem="small", conventions=conventions), mlp_head(128, 32, 16, conventions))
    made = BYOL(network, mlp_head(16, 32, 16, conventions), mean=(0.5,) * 3, std=(0.25,) * 3)
    fused = copy.deepcopy(made).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    assert fuse_norms(fused) == (2 * 12 if conventions == "torch" else 2 * 13 + 3)  # Haiku's are also in the heads
    assert fused.state_dict().keys() == made.state_dict().keys()
    exact = four_steps(copy.deepcopy(made).double(), fused=False)
    errors = [
        {name: relative_error(value, exact[name]) for name, value in found.items() if float(exact[name].norm()) > 1e-6}
        for found in (four_steps(made, fused=False), four_steps(fused, fused=True))
    ]
    for found in errors:  # a ReLU now and then decides otherwise in float32, torch's too
        assert len(found) > 60
        assert max(found.values()) < 2e-2
        assert found["losses"] < 1e-3


def four_steps(method: BYOL, *, fused: bool) -> dict[str, Tensor]:
    """The losses, and every weight and average after the last step."""
    optimizer = create_optimizer(method.trained_modules(), weight_decay=1e-3, trust_coefficient=1e-2, fused=fused)
    losses = []
    for step in range(4):
        views = torch.rand(2, 16, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        view1, view2 = views.to(next(method.parameters()).dtype)
        output = method(ViewBatch((view1,), (view2,)))
        output.loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        optimizer.step()
        optimizer.zero_grad()
        method.update_target(0.9)
        losses.append(output.loss.detach())
    assert not 0.95 < losses[3] / losses[0] < 1.05
    return {"losses": torch.stack(losses), **{n: t for n, t in method.state_dict().items() if t.is_floating_point()}}
